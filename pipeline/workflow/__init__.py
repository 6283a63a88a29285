"""One run, in reading order: build the components, run the stages, write the record, fix what can be fixed."""
