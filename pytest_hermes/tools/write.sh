# shellcheck shell=sh
# Makes stdin the content of a file, with its parent folders if need be, and writes 1 if the file is new, else 0.
# Arguments: the path, and how many bytes there are on stdin.

case $1 in */) refuse 'it ends with a slash, so it names a directory' ;; esac
[ -d "$1" ] && refuse 'it is a directory'
created=1
if [ -e "$1" ]; then
    created=0
    [ -f "$1" ] || refuse 'it is a device, pipe or socket, not a regular file'
fi
folder=${1%/*}/
[ -d "$folder" ] || message=$(mkdir -p "$folder" 2>&1) || refuse "its directory cannot be created: $(reason "$message")"
# The file keeps its mode and its links: it is written in place.
message=$( { cat >"$1"; } 2>&1 ) || refuse "it cannot be written: $(reason "$message")"
[ "$(wc -c <"$1")" -eq "$2" ] || refuse 'only a part of it was written'
echo "$created"
