"""Sources of images: one file each. Every public function is an option of the `data` group, called by keyword.

This file imports nothing, so that choosing one source never imports the packages of another.
"""
