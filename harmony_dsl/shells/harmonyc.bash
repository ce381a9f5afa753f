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

    # The quote that is open at the cursor, if any.
    local typed=${COMP_LINE:0:COMP_POINT} quote="" char
    for ((i = 0; i < ${#typed}; i++)); do
        char=${typed:i:1}
        case $quote$char in
            "''" | '""') quote="" ;;
            "'" | '"') quote=$char ;;
            \\ | '"\') ((i++)) ;;
        esac
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

    # bash quotes names of files alone. What else is inserted is read as code, and comes from a recipe that
    # somebody else may have written. The bash of macOS has no compopt, and quotes nothing.
    local text quoted j
    if [[ $kind != files ]] || ! compopt -o filenames 2>/dev/null; then
        for ((i = 0; i < ${#COMPREPLY[@]}; i++)); do
            text=${COMPREPLY[i]} quoted=""
            if [[ -z $quote && $text ]]; then
                printf -v quoted %q "$text"
                [[ $kind == files && $text == "~/"* ]] && quoted="~${quoted#\\~}"
            fi
            for ((j = 0; j < ${#text} && ${#quote}; j++)); do
                char=${text:j:1}
                case $quote$char in
                    "''") quoted+="'\\''" ;;
                    '"!') quoted+="\"'!'\"" ;;
                    '"'[\"\$\`\\]) quoted+=\\$char ;;
                    *) quoted+=$char ;;
                esac
            done
            COMPREPLY[i]=$quoted
        done
    fi
    [[ ${#COMPREPLY[@]} -eq 1 && $COMPREPLY == *[=/] ]] && compopt -o nospace 2>/dev/null
    return 0
}

complete -F _harmonyc harmonyc
