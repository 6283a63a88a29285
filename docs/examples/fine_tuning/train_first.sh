#!/bin/sh
# Train a small network on five kinds of clothes with many images. Its run is what the other two examples start from.
set -e
python docs/examples/fine_tuning/make_data.py "${DATA:=outputs/fine_tuning}"
python -m pipeline name=many data=npz data.path="$DATA/many.npz" model.width=8 stages.train.epochs=8 "$@"
