# shellcheck shell=sh disable=SC1090
# As bash_session.sh, for images that have no bash: any POSIX shell runs it, busybox's, dash. Such a shell cannot print
# its functions, so they end with their command. The state is two files: exported variables as code of the shell, and
# the folder.

__hermes_state=$2 __hermes_new=$5 __hermes_workdir=$3 __hermes_home=$4
set --
__hermes_command=$(cat)
exec 0</dev/null 2>&1

if [ -r "$__hermes_state" ]; then
    __hermes_cwd=$(cat "$__hermes_state.cwd"; echo .)
    __hermes_cwd=${__hermes_cwd%??}
    cd -- "$__hermes_cwd" 2>/dev/null || cd -- "$__hermes_workdir" 2>/dev/null || cd -- "$__hermes_home" || :
    [ "$PWD" = "$__hermes_cwd" ] ||
        printf 'hermes: the folder %s is gone; this command starts in %s\n' "$__hermes_cwd" "$PWD"
    __hermes_here=$PWD
    # Those that an earlier command has unset came back with this shell.
    # shellcheck disable=SC2046
    unset -v $(export -p | sed -n 's/^export \([A-Za-z_][A-Za-z0-9_]*\).*/\1/p') 2>/dev/null
    . "$__hermes_state" 2>/dev/null
    PWD=$__hermes_here
else
    cd -- "$__hermes_workdir" 2>/dev/null || cd -- "$__hermes_home" || :
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
