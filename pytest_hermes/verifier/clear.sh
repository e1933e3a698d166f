# shellcheck shell=sh
# Makes way for a path, or, with a second argument, removes it. A folder that is somebody's working directory is only
# emptied: it cannot always be removed.

if [ -z "$2" ] && [ -d "$1" ] && [ ! -L "$1" ]; then
    cd -- "$1" && rm -rf -- ./* ./.[!.]* ./..?*
else
    rm -rf -- "$1"
fi
