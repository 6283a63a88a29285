#!/bin/sh
# Train all layers further on five other kinds of clothes with 18 images each: RUN=the first run's directory.
set -e
python -m pipeline name=full data=npz data.path="${DATA:=outputs/fine_tuning}/few.npz" data.batch_size=16 \
  model.width=8 init.from="$RUN" preprocessing=network stages.train.epochs=4 "$@"
