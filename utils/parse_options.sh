# utils/parse_options.sh: sourced by a script, reads its options: --name value or --name=value, long names only.
# shellcheck shell=bash
#
# An option is a variable that the script declares above the line that sources this file, with a comment beside it:
#     stop_stage=9   # last stage to run
# makes --stop-stage. --help prints these names, comments and defaults, and the comment that heads the script.
# The default says the type: a whole number, true or false, else text. Names that end in _dir are folders, and
# checkpoint and frontend are paths; both must be there and are made absolute (work_dir may be made later).
# What is wrong is said in one line, exit code 2. Values are never evaluated.
# Words after -- are left in "$@" where the script declares rest_of_line=<what they are>, and refused elsewhere.

_script=${BASH_SOURCE[1]}

_usage_error() {
  printf '%s: %s\n' "$(basename -- "$_script")" "$*" >&2
  exit 2
}

# "name<tab>comment" of every option, in the order of the file
_options() {
  awk '/parse_options\.sh/ && !/^#/ { exit }
       match($0, /^[a-z][a-z_]*=/) && /[ \t]# / {
         name = substr($0, 1, RLENGTH - 1); sub(/^.*[ \t]# +/, ""); print name "\t" $0 }' "$_script"
}

_help() {
  local name comment
  awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$_script"
  printf '\noptions, as --name value or --name=value:\n'
  while IFS=$'\t' read -r name comment; do
    printf '  --%-14s %s%s\n' "${name//_/-}" "$comment" "${!name:+ (default: ${!name})}"
  done < <(_options)
  printf '  --%-14s %s\n' help "print this"
}

# _check name value: what is wrong with this value of this option, if anything, as one line and exit 2
_check() {
  local option=--${1//_/-}
  [ -n "$2" ] || _usage_error "$option: value missing"
  case $1 in
    stage | stop_stage) [[ $2 =~ ^[1-9]$ ]] || _usage_error "$option: must be a stage, 1 to 9, not '$2'" ;;
    nj) [[ $2 =~ ^[1-9][0-9]{0,3}$ ]] || _usage_error "$option: must be a number of processes, 1 or more, not '$2'" ;;
    work_dir) [ ! -e "$2" ] || [ -d "$2" ] || _usage_error "$option: not a folder: '$2'" ;;
    *_dir) [ -d "$2" ] || _usage_error "$option: there is no folder '$2'" ;;
    checkpoint | frontend) [ -e "$2" ] || _usage_error "$option: there is no file '$2'" ;;
  esac
  if [[ $_booleans == *" $1 "* && ! $2 =~ ^(true|false)$ ]]; then
    _usage_error "$option: must be true or false, not '$2'"
  elif [[ $_numbers == *" $1 "* && ! $2 =~ ^(0|[1-9][0-9]{0,8})$ ]]; then
    _usage_error "$option: must be a whole number, not '$2'"
  fi
}

_names=" " _booleans=" " _numbers=" "
while IFS=$'\t' read -r _name _; do
  _names+="$_name "
  [[ ! ${!_name} =~ ^(true|false)$ ]] || _booleans+="$_name "
  [[ ! ${!_name} =~ ^[0-9]+$ ]] || _numbers+="$_name "
done < <(_options)
for _word in "$@"; do # before any value is taken, so that it shows the defaults
  case $_word in
    --help) _help; exit ;;
    --) break ;;
  esac
done
while [ $# -gt 0 ]; do
  case $1 in
    --) if [ -n "${rest_of_line:-}" ]; then shift; break; fi
      _usage_error "unknown option '--'; see --help" ;;
    --*=*) _name=${1%%=*} _value=${1#*=} _words=1 ;;
    --*) _name=$1 _value=${2-} _words=2
      [[ $_value != --* ]] || _value= ;;
    *) _usage_error "unknown word '$1': options are --name value; see --help" ;;
  esac
  _variable=${_name#--} _variable=${_variable//-/_}
  [[ $_name =~ ^--[a-z][a-z-]*$ && $_names == *" $_variable "* ]] || _usage_error "unknown option '$_name'; see --help"
  _check "$_variable" "$_value"
  case $_variable in
    *_dir | checkpoint | frontend) [[ $_value == /* ]] || _value=$PWD/$_value ;;
  esac
  printf -v "$_variable" %s "$_value"
  shift "$_words"
done
if [ "${stage:-1}" -gt "${stop_stage:-9}" ]; then
  _usage_error "--stop-stage $stop_stage is before --stage $stage"
fi
