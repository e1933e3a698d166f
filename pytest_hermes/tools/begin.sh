# shellcheck shell=sh disable=SC2034
# Stands before each of the file tools' scripts. Their first argument is the path that they are about. A script that
# ends by `refuse` has written a message for whoever called the tool.

LC_ALL=C
export LC_ALL
refuse() { printf '%s' "$1"; exit 90; }
must_be_a_file() {
    [ -d "$1" ] && refuse 'it is a directory'
    [ -e "$1" ] || refuse "there is no such file (the current directory is $PWD)"
    [ -f "$1" ] || refuse 'it is a device, pipe or socket, not a regular file'
    [ -r "$1" ] || refuse 'permission denied'
}
