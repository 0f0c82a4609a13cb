#!/bin/bash
# label-studio-sdk 2.1.2: its validator refuses the verdicts that Label Studio's own Pairwise control stores.
#
# In the editor of label-studio 1.23.2 (seen in a browser) a click on the left answer under <Pairwise name="better" toName="left,right"/>
# stores {"from_name": "better", "to_name": "better", "type": "pairwise", "value": {"selected": "left"}}: the control names itself.
# LabelInterface.validate_annotation says False to it, and also to the list that the config has, "left,right"; it takes a single answer
# ("left" or "right"), which no editor stores. A pipeline that validates exports by the SDK loses each pairwise verdict.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet label-studio-sdk==2.1.2
cd "$folder"
venv/bin/python - <<'PY'
from label_studio_sdk.label_interface import LabelInterface

labels = LabelInterface(
    """<View>
      <Pairwise name="better" toName="left,right"/>
      <Text name="left" value="$left"/>
      <Text name="right" value="$right"/>
    </View>"""
)
labels.validate()
verdict = {"id": "a", "type": "pairwise", "from_name": "better", "value": {"selected": "left"}}
found = {to: labels.validate_annotation({"result": [{**verdict, "to_name": to}]}) for to in ("better", "left,right", "left", "right")}
print(found)
assert found == {"better": False, "left,right": False, "left": True, "right": True}, found
PY
echo "as described"
