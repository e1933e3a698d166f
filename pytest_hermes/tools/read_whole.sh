# shellcheck shell=sh
# Writes what is in a file. Arguments: the path, and how many bytes at most.

must_be_a_file "$1"
{ message=$( { head -c "$2" <"$1" >&3; } 2>&1 ); } 3>&1 || refuse "it cannot be read: $(reason "$message")"
