#!/bin/sh
# Stands in for ryzenadj: limits in files of $RYZENADJ_FOLDER (mW, °C), every call a line in `calls` there. An option
# named in `fail` fails as the SMU's refusal does; one in `ignore` is taken and does nothing; with `blind`, --info has no table.
folder=$RYZENADJ_FOLDER
echo "$*" >>"$folder/calls"
watts() { read -r value <"$folder/$1" && printf '| %-19s | %5d.%03d | %-18s |\n' "$2" $((value / 1000)) $((value % 1000)) "$1"; }
for argument in "$@"; do
  case $argument in
    --info)
      echo 'CPU Family: Strix Halo'
      if [ -e "$folder/blind" ]; then
        echo 'Unable to init power metric table: -1, this does not affect adjustments because it is only needed for monitoring.'
        exit 0
      fi
      echo '|        Name         |   Value   |     Parameter      |'
      echo '|---------------------|-----------|--------------------|'
      watts stapm-limit 'STAPM LIMIT'
      echo '| STAPM VALUE         |    11.500 |                    |'
      watts fast-limit 'PPT LIMIT FAST'
      watts slow-limit 'PPT LIMIT SLOW'
      read -r celsius <"$folder/tctl-temp" && printf '| %-19s | %9d.000 | %-18s |\n' 'THM LIMIT CORE' "$celsius" tctl-temp
      echo '| THM VALUE CORE      |    47.125 |                    |'
      ;;
    --*=*)
      option=${argument%%=*} option=${option#--} value=${argument#*=}
      if grep -qsx "$option" "$folder/fail"; then
        echo "set_$option is rejected by SMU"
        exit 255
      fi
      grep -qsx "$option" "$folder/ignore" || echo "$value" >"$folder/$option"
      echo "Sucessfully set $option to $value"
      ;;
    *) exit 255 ;;
  esac
done
