"""The scripts that connect a shell's tab key to `completing`, and where each is installed. None evaluates text."""

import os
import sys
from pathlib import Path

from imagegen_cli.commands.console import say
from imagegen_cli.core.errors import ConfigError, UsageError
from imagegen_cli.core.language import Message
from imagegen_cli.core.schema import nearest
from imagegen_cli.core.text import Printer
from imagegen_cli.settings.files import write

BASH = r"""# bash completion of imagegen
_imagegen_completion() {
    local program=$1 kind= line
    COMPREPLY=()
    while IFS= read -r line; do
        line=${line%$'\r'}
        if [ -z "$kind" ]; then kind=$line; else COMPREPLY+=("$line"); fi
    done < <(_IMAGEGEN_COMPLETE=bash _IMAGEGEN_LINE="${COMP_LINE:0:COMP_POINT}" _IMAGEGEN_BREAKS="$COMP_WORDBREAKS" \
        _IMAGEGEN_LISTING="$COMP_TYPE" "${program/#\~/$HOME}" 2>/dev/null)
    case $kind in
        files) compopt -o default 2>/dev/null; COMPREPLY=() ;;
        folders) compopt -o dirnames 2>/dev/null; COMPREPLY=() ;;
        *) [ "${#COMPREPLY[@]}" = 1 ] && case ${COMPREPLY[0]} in *=) compopt -o nospace 2>/dev/null ;; esac ;;
    esac
    return 0
}
complete -F _imagegen_completion imagegen
"""

ZSH = r"""#compdef imagegen
# zsh completion of imagegen
_imagegen() {
    local kind line program
    local -a lines names shown
    program=${(Q)words[1]}
    program=${program/#\~/$HOME}
    line="${(pj:\n:)${(@Q)words[2,CURRENT]}}"
    lines=("${(@f)$(_IMAGEGEN_COMPLETE=zsh _IMAGEGEN_WORDS="$line" "$program" 2>/dev/null)}")
    kind=$lines[1]
    case $kind in
        files) [[ $PREFIX == -*=* ]] && compset -P '*='; _files; return ;;
        folders) [[ $PREFIX == -*=* ]] && compset -P '*='; _files -/; return ;;
    esac
    for line in "${(@)lines[2,-1]}"; do
        [[ -n $line ]] || continue
        names+=("${line%%$'\t'*}")
        shown+=("${line/$'\t'/  -- }")
    done
    (( $#names )) || return 1
    if [[ $#names == 1 && $names[1] == *= ]]; then compadd -S '' -a names
    else compadd -l -d shown -a names; fi
}
if [[ $funcstack[1] == _imagegen ]]; then _imagegen "$@"; else compdef _imagegen imagegen; fi
"""

FISH = r"""# fish completion of imagegen
function __imagegen_complete
    set -l words (commandline -opc)
    set -l token (commandline -ct)
    set -l before (string join \n -- $words[2..-1] | string collect)
    set -l found (env _IMAGEGEN_COMPLETE=fish _IMAGEGEN_WORDS="$before" _IMAGEGEN_TOKEN="$token" $words[1] 2>/dev/null)
    switch "$found[1]"
        case files
            __fish_complete_path (commandline -ct)
        case folders
            __fish_complete_directories (commandline -ct)
        case '*'
            test (count $found) -gt 1; and printf '%s\n' $found[2..-1]
    end
end
complete -c imagegen -f -a '(__imagegen_complete)'
"""

POWERSHELL = r"""# PowerShell completion of imagegen
Register-ArgumentCompleter -Native -CommandName imagegen -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | Select-Object -Skip 1 |
        Where-Object { $_.Extent.StartOffset -lt $cursorPosition } |
        ForEach-Object {
            if ($_ -is [System.Management.Automation.Language.StringConstantExpressionAst]) { $_.Value } else { "$_" }
        })
    if ($wordToComplete -eq '') { $words += '' }
    $env:_IMAGEGEN_COMPLETE = 'powershell'
    $env:_IMAGEGEN_WORDS = $words -join "`n"
    try {
        $found = @(& $commandAst.CommandElements[0].Value 2>$null)
    } finally {
        Remove-Item Env:_IMAGEGEN_COMPLETE, Env:_IMAGEGEN_WORDS
    }
    if ($found.Count -eq 0 -or $found[0] -ne 'values') { return }
    foreach ($line in ($found | Select-Object -Skip 1)) {
        $name, $meaning = $line -split "`t", 2
        if (-not $meaning) { $meaning = $name }
        [System.Management.Automation.CompletionResult]::new($name, $name, 'ParameterValue', $meaning)
    }
    if ($found.Count -eq 1) { '' }
}
"""

SCRIPTS = {"bash": BASH, "fish": FISH, "powershell": POWERSHELL, "zsh": ZSH}
NO_SHELL = Message("there is no completion for {shell}")
NAME_ONE = Message("there is no telling which shell this is")
NAMED = Message("name it: imagegen completion bash, fish, powershell or zsh")
INSTALLED = Message("installed: {path}")
STARTS = Message("a new shell has it")
ZSH_NEEDS = Message(
    "a new shell has it where ~/.zshrc has the line: fpath=({folder} $fpath); autoload -Uz compinit; compinit"
)
BASH_NEEDS = Message(
    "a new shell has it where the package bash-completion is installed, or ~/.bashrc has the line: . {path}"
)
BY_HAND = Message("PowerShell has no folder for completions")
PROFILE = "imagegen completion powershell >> $PROFILE"


def completion(shell: str, *, install: bool) -> int:
    """Print the script of a shell, or put it where the shell looks for it. Raises UsageError and ConfigError."""
    name = shell or Path(os.environ.get("SHELL", "")).name
    if not shell and name not in SCRIPTS:
        raise UsageError(NAME_ONE, hint=NAMED)
    name = "powershell" if name == "pwsh" else name
    if name not in SCRIPTS:
        raise UsageError(NO_SHELL.format(shell=name), hint=nearest(name, SCRIPTS))
    if install:
        return _install(name)
    data = Printer(sys.stdout)
    for line in SCRIPTS[name].splitlines():
        data.line(line)
    return 0


def _install(shell: str) -> int:
    if shell == "powershell":
        raise ConfigError(BY_HAND, hint=PROFILE)
    path = _place_of(shell)
    write(path, SCRIPTS[shell], mode=0o644)
    say(INSTALLED.format(path=path), path=str(path))
    needs = {"zsh": ZSH_NEEDS, "bash": BASH_NEEDS}.get(shell, STARTS)
    say(needs.format(path=path, folder=path.parent))
    return 0


def _place_of(shell: str) -> Path:
    """Where a shell loads the completion of a command from when it is needed; no file of the person's is changed."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return {
        "bash": data / "bash-completion/completions/imagegen",
        "fish": config / "fish/completions/imagegen.fish",
        "zsh": data / "zsh/site-functions/_imagegen",
    }[shell]
