# shellcheck shell=bash
# Images of appc's, made of a tree.

# aci_manifest NAME VERSION APP-JSON [ANNOTATIONS-JSON]
aci_manifest() {
    cat <<MANIFEST
{
  "acKind": "ImageManifest",
  "acVersion": "0.8.11",
  "name": "example.com/$1",
  "labels": [
    { "name": "os", "value": "linux" },
    { "name": "arch", "value": "$(aci_arch)" },
    { "name": "version", "value": "$2" }
  ],
  "app": $3,
  "annotations": [${4:-}]
}
MANIFEST
}

# build_aci DIR FILE: DIR holds manifest and rootfs/.
build_aci() {
    actool build --no-compression --overwrite "$1" "$2"
    actool validate "$2"
}
