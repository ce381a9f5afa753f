# Completes harmonyc in fish: harmonyc completion fish > ~/.config/fish/completions/harmonyc.fish

function __harmonyc_complete
    set -l words (commandline -opc)
    set -l command (string replace -r '^~/' "$HOME/" -- $words[1])
    set -e words[1]
    set -l current (commandline -ct)
    set -l found ($command __complete $words "$current" 2>/dev/null)
    set -e found[1]
    printf '%s\n' $found
end

complete -c harmonyc -f -a '(__harmonyc_complete)'
