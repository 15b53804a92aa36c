"""`completion`: scripts with which bash, zsh and fish ask `tiffin __complete` for every word that is typed."""

from __future__ import annotations

import sys

from tiffin.cli.options import Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tiffin.cli.context import Context
    from tiffin.cli.options import Parsed

# Each sends the words up to the cursor and gets lines of "word<tab>description", then ":flags" (see complete.py).
BASH = r"""# bash completion for tiffin
_tiffin() {
    local rest=${COMP_LINE:0:COMP_POINT} word stripped line flags current glue i
    local -a words=() lines=()
    # Bash has split the words at : and = as well: what has no blank before it belongs to the word before.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        stripped=${rest#"${rest%%[![:blank:]]*}"}
        word=${COMP_WORDS[i]}
        ((i < COMP_CWORD)) || word=$stripped
        if ((i > 0)) && [[ $stripped == "$rest" ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        rest=${stripped#"$word"}
    done
    current=${words[${#words[@]} - 1]}
    mapfile -t lines < <("${words[0]/#\~/$HOME}" __complete -- "${words[@]:1}" 2>/dev/null)
    ((${#lines[@]})) || return
    flags=${lines[${#lines[@]} - 1]#:}
    unset 'lines[${#lines[@]}-1]'
    # Only what follows the last : or = is replaced.
    glue=
    [[ $current == *[:=]* && $COMP_WORDBREAKS == *:* ]] && glue=${current%"${current##*[:=]}"}
    COMPREPLY=()
    for line in "${lines[@]}"; do
        line=${line%%$'\t'*}
        COMPREPLY+=("${line#"$glue"}")
    done
    ((flags & 2)) && compopt -o nospace 2>/dev/null
    if ((flags & 4)); then
        return
    fi
    compopt -o filenames 2>/dev/null
    if ((flags & 16)); then
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "${current#"$glue"}")
    else
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "${current#"$glue"}")
    fi
}
complete -F _tiffin tiffin
"""

ZSH = r"""#compdef tiffin
# zsh completion for tiffin
_tiffin() {
    local line word flags
    local -a lines shown space
    lines=("${(@f)$(${(Q)words[1]} __complete -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    flags=${lines[-1]#:}
    [[ $flags == <-> ]] || return 1
    lines[-1]=()
    for line in $lines; do
        word=${${line%%$'\t'*}//:/\\:}
        [[ $line == *$'\t'* ]] && word+=":${line#*$'\t'}"
        shown+=("$word")
    done
    ((flags & 2)) && space=(-S '')
    (($#shown)) && _describe -V -t words tiffin shown $space
    ((flags & 4)) && return
    if ((flags & 16)); then
        _files -/
    else
        _files
    fi
}
if [[ $funcstack[1] == _tiffin ]]; then
    _tiffin "$@"
else
    compdef _tiffin tiffin
fi
"""

FISH = r"""# fish completion for tiffin
function __tiffin_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l lines (command $words[1] __complete -- $words[2..-1] "$current" 2>/dev/null)
    or return
    set -l flags (string replace : '' -- $lines[-1])
    test (count $lines) -gt 1
    and printf '%s\n' $lines[1..-2]
    if test (math "bitand($flags, 4)") -eq 0
        __fish_complete_path "$current"
    end
end
complete -c tiffin -f -a '(__tiffin_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
# Where each shell looks for it below /usr/share, /usr/local/share and the like.
PLACES = {
    "bash": "bash-completion/completions/tiffin",
    "zsh": "zsh/site-functions/_tiffin",
    "fish": "fish/vendor_completions.d/tiffin.fish",
}


def _completion(context: Context, parsed: Parsed) -> int:
    shell = parsed.arguments[0]
    if shell not in SCRIPTS:
        from tiffin.errors import UsageError

        raise UsageError(f"there is no completion for the shell {shell!r}", hint=f"it is {', '.join(SCRIPTS)}")
    sys.stdout.write(SCRIPTS[shell])
    return 0


COMPLETION = Verb(
    name="completion",
    summary="Print a script that has a shell complete what is typed",
    run=_completion,
    arguments="bash|zsh|fish",
    minimum=1,
    maximum=1,
    description="It completes verbs, options and many of their values, and the names of containers, images and "
    "volumes. A package may install it below /usr/share instead, where each shell finds it by itself.",
    examples=(
        ("source <(tiffin completion bash)", "in ~/.bashrc"),
        ("source <(tiffin completion zsh)", "in ~/.zshrc, after compinit"),
        ("tiffin completion fish > ~/.config/fish/completions/tiffin.fish", "once"),
    ),
)
