"""For every test: few threads (machines are shared, and sums must not depend on the number of cores)."""

import torch

torch.set_num_threads(1)
