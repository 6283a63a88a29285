"""How each stage is shown, in a module with the stage's name (`pipeline.report.stage_view`)."""
