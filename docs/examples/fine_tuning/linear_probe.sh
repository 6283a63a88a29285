#!/bin/sh
# Train only a new head on five other kinds of clothes with 18 images each: RUN=the first run's directory.
set -e
python -m pipeline name=probe data=npz data.path="${DATA:=outputs/fine_tuning}/few.npz" data.batch_size=16 \
  model.width=8 init.from="$RUN" preprocessing=network 'model.frozen=["!output"]' \
  optimizer.lr=0.03 stages.train.epochs=4 "$@"
