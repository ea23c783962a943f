#!/bin/sh
# Make a CA, the certificate of one server and that of one client. What is there already is kept.
#
# usage: certs.sh SERVER CLIENT [--dir DIR] [--passphrase-file FILE]
#
# Without --passphrase-file the passphrase of the CA's key is asked for on the terminal.
set -eu

if [ "$#" -lt 2 ]; then
    echo "usage: certs.sh SERVER CLIENT [--dir DIR] [--passphrase-file FILE]" >&2
    exit 2
fi
server=$1 client=$2
shift 2

hauberk certs init "$@"
hauberk certs issue --san localhost --san 127.0.0.1 --san ::1 "$@" -- "$server"
hauberk certs issue --client "$@" -- "$client"
