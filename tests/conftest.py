"""What tests share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors are quickest on one thread, and results repeat."""
    torch.set_num_threads(1)
