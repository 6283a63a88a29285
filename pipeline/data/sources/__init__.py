"""Where images come from: one file each, every public function a choice of the `data` group, called by keyword.

This file imports nothing, so that choosing one source never loads what another needs.
"""
