"""How each stage is shown, in a module of the stage's name. docs: `pipeline/report/stage_view.py`.

A stage without a module here is shown by its headline and its numeric metrics.
"""
