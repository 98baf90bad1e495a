# Warehouse credentials for a script. To be sourced:
#
#     . "$1/get_redshift_creds.sh" "$2"
#
# Sets HOST, PORT, USER, PASSWORD and DB; exports RSPASSWORD and RSPORT for rsql. Where the shell hands a sourced file
# no arguments (POSIX sh, dash) the job's own secret is taken; a script may name it in RSQLFLOW_SECRET_ID.
#
# The agent fetches the secret and keeps the password out of logs; it never is an argument of any program.

# Without arguments of its own, a sourced file sees the script's: a directory as first.
if [ -n "${BASH_VERSION:-}${ZSH_VERSION:-}${KSH_VERSION:-}" ] && [ -n "${1:-}" ] && [ ! -d "$1" ]; then
    _rsqlflow_secret=$1
else
    _rsqlflow_secret=${RSQLFLOW_SECRET_ID:-}
fi

if [ -z "$_rsqlflow_secret" ]; then
    echo "get_redshift_creds.sh: no secret id; call it as: . \"\$1/get_redshift_creds.sh\" \"\$2\"" >&2
    exit 1
fi

case $- in
    *x*) _rsqlflow_trace=1; set +x ;;
    *) _rsqlflow_trace= ;;
esac

if _rsqlflow_answer=$(rsqlflow-agent credentials -- "$_rsqlflow_secret"); then
    eval "$_rsqlflow_answer"
    unset _rsqlflow_answer _rsqlflow_secret
    if [ -n "$_rsqlflow_trace" ]; then unset _rsqlflow_trace; set -x; else unset _rsqlflow_trace; fi
else
    echo "get_redshift_creds.sh: no credentials for secret $_rsqlflow_secret (see the line above)" >&2
    unset _rsqlflow_answer _rsqlflow_secret _rsqlflow_trace
    exit 1
fi
