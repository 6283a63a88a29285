"""Measurements of data and networks: numbers only, one probe a file. `pipeline.checks` judges them.

Here networks are `nn.Module`s and images are tensors; this room imports neither the data nor the models of the project.

Nothing is imported on this level: `schema`, the list of all keys, must not cost an import of torch.
"""
