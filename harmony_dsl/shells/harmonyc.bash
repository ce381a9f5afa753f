# Completes harmonyc in bash. In ~/.bashrc: source <(harmonyc completion bash)

_harmonyc() {
    # bash ends words at = : @ too, and harmonyc does not: put the pieces together again. What stands before
    # the last piece is there already, and no part of what is offered.
    local -a words=()
    local n=0 i piece before="" glue=""
    for ((i = 1; i <= COMP_CWORD; i++)); do
        piece=${COMP_WORDS[i]}
        if [[ $piece == [=:@]* ]] && ((n)); then
            words[n - 1]+=$piece
            before=${words[n - 1]} glue=1
        elif [[ $glue ]]; then
            words[n - 1]+=$piece
            glue=""
        else
            words[n++]=$piece
            before=""
        fi
    done

    local kind="" line
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ -z $kind ]]; then
            kind=$line
        else
            line=${line%%$'\t'*}
            COMPREPLY+=("${line#"$before"}")
        fi
    done < <("${COMP_WORDS[0]/#~\//$HOME/}" __complete "${words[@]}" 2>/dev/null)

    # The bash of macOS has no compopt.
    [[ $kind == files ]] && compopt -o filenames 2>/dev/null
    [[ ${#COMPREPLY[@]} -eq 1 && $COMPREPLY == *[=/] ]] && compopt -o nospace 2>/dev/null
    return 0
}

complete -F _harmonyc harmonyc
