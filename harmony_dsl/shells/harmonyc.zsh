#compdef harmonyc
# Completes harmonyc in zsh. In ~/.zshrc, below compinit: source <(harmonyc completion zsh)

_harmonyc() {
    local -a lines whole open
    local kind line text
    lines=("${(@f)$(${~words[1]} __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    kind=$lines[1]
    for line in "${(@)lines[2,-1]}"; do
        text=${line%%$'\t'*}
        if [[ $kind != files ]]; then
            line=${${text//\\/\\\\}//:/\\:}${line#$text}
            line=${line/$'\t'/:}
        fi
        if [[ $text == *[=/] ]]; then
            open+=("$line")
        else
            whole+=("$line")
        fi
    done
    if [[ $kind == files ]]; then
        compadd -f -S '' -a open
        compadd -f -a whole
    else
        _describe -V harmonyc open -S '' -- whole
    fi
}

if [[ ${funcstack[1]} == _harmonyc ]]; then
    _harmonyc "$@"
else
    compdef _harmonyc harmonyc
fi
