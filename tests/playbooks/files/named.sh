#!/bin/sh
echo "$(basename "$0") $#"
