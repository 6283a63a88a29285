#!/bin/sh
# Train only a new head first, then all layers at a tenth of the rate: RUN=the first run's directory.
set -e
python -m pipeline name=gradual data=npz data.path="${DATA:=outputs/fine_tuning}/few.npz" data.batch_size=16 \
  model.width=8 init.from="$RUN" preprocessing=network 'model.frozen=["!output"]' optimizer.lr=0.03 \
  'stage=[sanity,overfit,train,finetune,evaluate]' stages.train.epochs=4 stages.finetune.epochs=4 "$@"
