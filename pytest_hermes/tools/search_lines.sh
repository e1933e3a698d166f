# shellcheck shell=sh
# Looks for lines in a batch of files; see search.sh. Arguments: the pattern, how many lines of a file and how many
# bytes of a line to write at most, and the files.

pattern=$1 lines=$2 width=$3
shift 3
grep -q -E -e "$pattern" "$@" 2>/dev/null || exit 0
for file do
    grep -q -E -e "$pattern" "$file" 2>/dev/null || continue
    # Not in binary ones.
    [ "$(head -c 8000 <"$file" | tr -d '\000' | wc -c)" -eq "$(head -c 8000 <"$file" | wc -c)" ] || continue
    printf '%s\0' "$file"
    grep -n -E -e "$pattern" "$file" | head -n "$lines" | cut -b "1-$width" | tr -d '\000'
    printf '\0'
done
