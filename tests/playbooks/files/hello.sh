#!/bin/sh
for word in "$@"; do echo "hello $word"; done
