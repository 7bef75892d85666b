"""Why is my FID different? How far each metric moves when one thing is done wrong.

`mistakes` spoils images, reference or features; `plan` says which samples are drawn for it, some of them
wrongly; `measure` evaluates them all; `table` shows what moved.
"""
