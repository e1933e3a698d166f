# shellcheck shell=bash disable=SC2064
# The session's state around a command, for bash. Arguments: itself, the state's path, the folder to start in, the home
# folder, and the path of a file that no other command at this time writes to; a command that saves nothing needs none.
#
# It is run by `bash -p`: that reads no start-up files (BASH_ENV) and takes no functions or options from the
# environment. All names begin with `__hermes_`. Builtins are called through `builtin`, since a function of the user's
# may have their name.
#
# The state is one file, replaced whole, of fields that each end with a NUL: the folder, the number of functions, the
# names of the variables that a bash of this sandbox is born with, the exported variables and each function, both as
# bash code, and the number of the bash that wrote it, which shows that it is whole: a disk may be full. What follows
# these is of no meaning.
#
# Agents run many small commands, so what surrounds them is kept cheap. No process is started where the state stays the
# same: what a builtin prints is read back from a file, since `$(...)` forks. Such files are written over (`<>`),
# because some file systems wait for the disk when one that was truncated is closed.

set +p
__hermes_state=$2 __hermes_folders=("$3" "$4") __hermes_new=$5
set --
LC_ALL=C IFS= read -r -d '' __hermes_command
exec 0</dev/null 2>&1

# Enters the first of these folders that is there. The last one, the home folder, is made anew if it comes to that: the
# root folder, where the command would start otherwise, may be that of the host.
__hermes_go() {
    local folder gone=
    for folder in "$@"; do
        [[ -n $folder ]] && builtin cd -- "$folder" && break
        gone=1
        [[ $folder == "${!#}" ]] && command -p mkdir -p -- "$folder" && builtin cd -- "$folder" && break
    done 2>/dev/null
    [[ -z $gone ]] && return
    __hermes_moved=1
    if [[ $folder == "$1" ]]; then
        printf 'hermes: the folder %s was deleted; it is there again, and empty\n' "$1"
    else
        printf 'hermes: the folder %s is gone; this command starts in %s\n' "$1" "$PWD"
    fi
}

# The folder of the state may have been deleted, along with all of /tmp. Called in a trap, a bare `return` would return
# what came before that.
__hermes_make_folder() {
    builtin test -d "${__hermes_new%/*}" && return 0
    [[ $__hermes_new != /tmp/* ]] || builtin test -d /tmp || builtin command -p mkdir -m 1777 /tmp
    (builtin umask 077 && builtin command -p mkdir -p -- "${__hermes_new%/*}")
} 2>/dev/null

__hermes_dump() {
    builtin local IFS=$'\n'
    { builtin declare -F && builtin printf '\0'; } 1<>"$1"
    builtin read -r -d '' __hermes_text <"$1"
    __hermes_functions=()
    builtin set -f
    for __hermes_text in $__hermes_text; do
        __hermes_text=${__hermes_text#declare }
        [[ $__hermes_text == *' __hermes_'* ]] || __hermes_functions+=("$__hermes_text")
    done
    builtin set +f
    {
        builtin pwd
        builtin printf '\0%s\0%s\0' "${#__hermes_functions[@]}" "$__hermes_born_with"
        builtin declare -px
        # These cannot be assigned to, but they can be exported.
        for __hermes_text in UID EUID PPID SHELLOPTS BASHOPTS; do
            builtin declare -n __hermes_name=$__hermes_text
            [[ ${__hermes_name@a} == *x* ]] && builtin printf 'export %s\n' "$__hermes_text"
            builtin unset -n __hermes_name
        done
        builtin printf '\0'
        for __hermes_text in "${__hermes_functions[@]}"; do
            __hermes_name=${__hermes_text#* } __hermes_text=${__hermes_text%% *}
            builtin declare -f -- "$__hermes_name"
            # Exported, or read-only.
            [[ $__hermes_text == -f ]] ||
                builtin printf 'builtin declare %s -- %q\n' "$__hermes_text" "$__hermes_name"
            builtin printf '\0'
        done
        builtin printf '%s\0' "$$"
    } 1<>"$1"
    __hermes_load "$1"
}

__hermes_load() {
    builtin local IFS=$'\x1e'
    builtin mapfile -d '' -t __hermes_fields <"$1"
    __hermes_end=${__hermes_fields[4+${__hermes_fields[1]:-0}]}
    __hermes_fields=("${__hermes_fields[@]:0:4+${__hermes_fields[1]:-0}}")
    __hermes_text="${__hermes_fields[*]}"
}

if [[ -r $__hermes_state ]]; then
    __hermes_load "$__hermes_state"
    __hermes_cwd=${__hermes_fields[0]%$'\n'} __hermes_born_with=${__hermes_fields[2]}
    __hermes_go "$__hermes_cwd" "${__hermes_folders[@]}"
    __hermes_here=$PWD
    {
        # shellcheck disable=SC2086
        unset -v $__hermes_born_with
        eval "${__hermes_fields[3]}"
        PWD=$__hermes_here
    } 2>/dev/null
    if [[ ${__hermes_fields[1]} != 0 ]]; then
        # A function may have been written with extended patterns, which must then be on for it to be read.
        builtin shopt -s extglob
        for __hermes_text in "${__hermes_fields[@]:4}"; do builtin eval "$__hermes_text"; done 2>/dev/null
        builtin shopt -u extglob
    fi
    builtin unset __hermes_fields __hermes_text __hermes_cwd __hermes_here
else
    __hermes_go "${__hermes_folders[@]}"
    unset OLDPWD
    export OLDPWD
    if [[ -n $__hermes_new && ! -d ${__hermes_new%/*} ]]; then
        if __hermes_make_folder; then
            printf 'hermes: the state of this shell was deleted: exported variables and functions are gone\n'
        else
            __hermes_new=
        fi
    fi
    if [[ -n $__hermes_new ]]; then
        # Not in the file for the new state, which nobody else may read.
        { compgen -e && printf '\0'; } 1<>"$__hermes_new.born"
        read -r -d '' __hermes_text <"$__hermes_new.born"
        __hermes_born_with=${__hermes_text//$'\n'/ }
        __hermes_dump "$__hermes_new.born"
        __hermes_born=$__hermes_text
    fi
    # What was said of a folder that is gone should be said once: then the state differs from what it began with.
    [[ -z $__hermes_moved ]] || __hermes_born=
fi
builtin unset -f __hermes_go
builtin unset __hermes_folders __hermes_moved

__hermes_watch() {
    __hermes_status=0 __hermes_saved='' __hermes_handler='' __hermes_trap='' __hermes_user_trap=''
    builtin trap '{ __hermes_save "$?"; } 2>/dev/null
        __hermes_back
        builtin eval "$__hermes_handler"
        builtin exit "$__hermes_status"' EXIT
    # A command that sets an EXIT trap of its own would put ours out, and one that exits then would not be saved.
    # Only where there is reason to expect one: in a function named `trap`, RETURN traps fire once too often.
    if [[ $__hermes_command == *trap*@(EXIT|exit|[[:space:]]0)* ]]; then
        __hermes_trap=$(builtin trap -p EXIT)
        trap() {
            if [[ $BASHPID != "$$" ]]; then
                builtin trap "$@"
                return
            fi
            builtin eval "builtin ${__hermes_user_trap:-trap - EXIT}"
            builtin trap "$@"
            __hermes_status=$?
            __hermes_user_trap=$(builtin trap -p EXIT)
            builtin eval "builtin $__hermes_trap"
            return "$__hermes_status"
        }
    fi
}

__hermes_back() { return "$__hermes_status"; }

__hermes_save() {
    builtin set +aefnuvxC
    [[ -n $__hermes_saved ]] && return
    __hermes_status=$1 __hermes_saved=1
    builtin trap - DEBUG ERR RETURN
    [[ -n $__hermes_user_trap ]] && builtin eval "__hermes_handler=(${__hermes_user_trap#trap -- })"
    [[ -n $__hermes_trap ]] && builtin unset -f trap
    if builtin test -z "$__hermes_new" || ! __hermes_make_folder; then
        builtin printf 'hermes: %s cannot be made anew; the next command starts as this one did\n' "${__hermes_state%/*}"
        return 0
    fi
    builtin umask 077
    __hermes_dump "$__hermes_new"
    if ! builtin test "$__hermes_end" = "$$"; then
        builtin printf 'hermes: the disk is full; the next command starts as this one did\n'
        return 0
    fi
    __hermes_after=$__hermes_text __hermes_text=$__hermes_born
    [[ -r $__hermes_state ]] && __hermes_load "$__hermes_state"
    # Not by [[, which knows no case where the command wanted that.
    builtin test "$__hermes_text" = "$__hermes_after" ||
        builtin command -p mv -f -- "$__hermes_new" "$__hermes_state"
    return 0
}
