# shellcheck shell=sh
# Writes a tar of a path to stdout; member names begin with its base name. Argument: the path.

path=$1
[ -e "$path" ] || [ -L "$path" ] || exit 44
while [ "$path" != / ] && [ "${path%/}" != "$path" ]; do path=${path%/}; done
case ${path##*/} in '' | . | ..) path=$(cd -- "$path" && pwd -P && echo .) && path=${path%??} || exit 1 ;; esac
case $path in */*) folder=${path%/*} ;; *) folder=. ;; esac
cd -- "${folder:-/}" || exit 1
name=${path##*/}
exec tar -c -f - -- "${name:-.}"
