# shellcheck shell=sh disable=SC1090
# As bash_session.sh, for images that have no bash: any POSIX shell runs it, busybox's, dash. Such a shell cannot print
# its functions, so they end with their command. The state is two files: exported variables as code of the shell, and
# the folder.

__hermes_state=$2 __hermes_new=$5 __hermes_workdir=$3 __hermes_home=$4
set --
__hermes_command=$(cat)
exec 0</dev/null 2>&1

__hermes_go() {
    __hermes_gone=
    for __hermes_folder do
        [ -n "$__hermes_folder" ] && cd -- "$__hermes_folder" && break
        __hermes_gone=1
        [ "$__hermes_folder" = "$__hermes_home" ] && mkdir -p -- "$__hermes_home" && cd -- "$__hermes_home" && break
    done 2>/dev/null
    [ -n "$__hermes_gone" ] || return 0
    if [ "$__hermes_folder" = "$1" ]; then
        printf 'hermes: the folder %s was deleted; it is there again, and empty\n' "$1"
    else
        printf 'hermes: the folder %s is gone; this command starts in %s\n' "$1" "$PWD"
    fi
}

if [ -r "$__hermes_state" ]; then
    __hermes_cwd=$(cat "$__hermes_state.cwd"; echo .)
    __hermes_go "${__hermes_cwd%??}" "$__hermes_workdir" "$__hermes_home"
    __hermes_here=$PWD
    # Those that an earlier command has unset came back with this shell.
    # shellcheck disable=SC2046
    unset -v $(export -p | sed -n 's/^export \([A-Za-z_][A-Za-z0-9_]*\).*/\1/p') 2>/dev/null
    . "$__hermes_state" 2>/dev/null
    PWD=$__hermes_here
else
    __hermes_go "$__hermes_workdir" "$__hermes_home"
    [ -z "$__hermes_new" ] || [ -d "${__hermes_new%/*}" ] ||
        printf 'hermes: the state of this shell was deleted: exported variables are gone\n'
fi

# The folder of the state may have been deleted, along with all of /tmp.
__hermes_make_folder() {
    [ -d "${__hermes_new%/*}" ] && return 0
    case $__hermes_new in /tmp/*) [ -d /tmp ] || mkdir -m 1777 /tmp ;; esac
    (umask 077 && mkdir -p -- "${__hermes_new%/*}")
}

__hermes_save() {
    set +aefuvxC 2>/dev/null
    trap - EXIT
    __hermes_make_folder 2>/dev/null || {
        printf 'hermes: %s cannot be made anew; the next command starts as this one did\n' "${__hermes_state%/*}"
        exit "$1"
    }
    {
        ( umask 077 && export -p >"$__hermes_new" && printf '%s\n' "$PWD" >"$__hermes_new.cwd" ) &&
            mv -f -- "$__hermes_new.cwd" "$__hermes_state.cwd" && mv -f -- "$__hermes_new" "$__hermes_state" ||
            printf 'hermes: the disk is full; the next command starts as this one did\n'
    } 2>/dev/null
    exit "$1"
}
