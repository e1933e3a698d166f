# shellcheck shell=sh
# Writes the names of files below a path in their order, each with a NUL behind it. Arguments: the path, how many bytes
# to write at most, and two globs that a file has to fit, where they are not empty.
#
# With more arguments it writes lines of regular files: behind the NUL of a name those that match, and another NUL, so
# that names and lines can be told apart whatever stands in them. These arguments are search_lines.sh, and its own.

[ -e "$1" ] || refuse "there is no such file or directory (the current directory is $PWD)"
[ -d "$1" ] || [ -f "$1" ] || refuse 'it is a device, pipe or socket'
path=$1 room=$2 name=$3 file_glob=$4
shift 4

list() {
    if [ -f "$path" ]; then printf '%s\0' "$path"; return; fi
    for glob in "$name" "$file_glob"; do
        case $glob in
            '') ;;
            # With a slash it is about the path, wherever that begins.
            *[!/]*/*[!/]*) set -- "$@" -path "*/$glob" ;;
            *) set -- "$@" -name "$glob" ;;
        esac
    done
    # The version control's own files are never what is meant; those of the kernel have no end.
    find -H "$path" -mindepth 1 \( -name .git -o -path /proc -o -path /sys -o -path /dev \) -prune -o "$@" -print0 \
        2>/dev/null | sort -z
}

if [ $# -eq 0 ]; then
    list ! -type d | head -c "$room"
    exit
fi
# A line to look at, because busybox reads the pattern no sooner.
message=$(echo | grep -E -e "$2" 2>&1 >/dev/null)
[ $? -le 1 ] || refuse_call "the pattern is not a regular expression for grep -E: $(reason "$message")"
look=$1
shift
# Files are looked at in batches, so that those without a match cost little.
list -type f | xargs -0 -n 64 sh -c "$look" sh "$@" 2>/dev/null | head -c "$room"
