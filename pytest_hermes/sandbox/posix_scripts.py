"""The scripts of a terminal session for images that have no bash; see `shell_scripts` for the others.

Any POSIX shell runs them: busybox's, dash. Such a shell cannot print its functions, so they end with their command.
The session's state is two files: exported variables as code of the shell, and the folder.
"""

from __future__ import annotations

#: Runs the command (on stdin) with the session's state, which stays as it was.
RUN = 'eval "$1"; eval "$__hermes_command"'

#: The same, and saves the state, also where the command ends by `exit`.
RUN_AND_SAVE = 'eval "$1"; trap \'__hermes_save "$?"\' EXIT; eval "$__hermes_command"; __hermes_save "$?"'

#: Arguments: itself, the state's path, the folder to start in, the home folder, and the path of a file that no other
#: command at this time writes to; a command that saves nothing needs none.
RESTORE = r"""
__hermes_state=$2 __hermes_new=$5 __hermes_workdir=$3 __hermes_home=$4
set --
__hermes_command=$(cat)
exec 0</dev/null 2>&1

if [ -r "$__hermes_state" ]; then
    __hermes_cwd=$(cat "$__hermes_state.cwd"; echo .)
    __hermes_cwd=${__hermes_cwd%??}
    cd -- "$__hermes_cwd" 2>/dev/null || cd -- "$__hermes_workdir" 2>/dev/null || cd -- "$__hermes_home"
    [ "$PWD" = "$__hermes_cwd" ] ||
        printf 'hermes: the folder %s is gone; this command starts in %s\n' "$__hermes_cwd" "$PWD"
    __hermes_here=$PWD
    # Those that an earlier command has unset came back with this shell.
    unset -v $(export -p | sed -n 's/^export \([A-Za-z_][A-Za-z0-9_]*\).*/\1/p') 2>/dev/null
    . "$__hermes_state" 2>/dev/null
    PWD=$__hermes_here
else
    cd -- "$__hermes_workdir" 2>/dev/null || cd -- "$__hermes_home"
fi

__hermes_save() {
    set +aefuvxC 2>/dev/null
    trap - EXIT
    {
        ( umask 077 && export -p >"$__hermes_new" && printf '%s\n' "$PWD" >"$__hermes_new.cwd" ) &&
            mv -f -- "$__hermes_new.cwd" "$__hermes_state.cwd" && mv -f -- "$__hermes_new" "$__hermes_state" ||
            printf 'hermes: the disk is full; the next command starts as this one did\n'
    } 2>/dev/null
    exit "$1"
}
"""

#: Runs a script of the harness in the session's folder. Arguments: the state's path, the folder to start in, the
#: home folder, the script, and the script's own.
SCRIPT = r"""
__hermes=
[ -r "$1.cwd" ] && __hermes=$(cat "$1.cwd"; echo .) && __hermes=${__hermes%??}
{ [ -n "$__hermes" ] && cd -- "$__hermes"; } 2>/dev/null || cd -- "$2" 2>/dev/null || cd -- "$3" 2>/dev/null
__hermes=$4
shift 4
eval "$__hermes"
"""
