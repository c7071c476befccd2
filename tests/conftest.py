import torch

torch.set_num_threads(1)  # toys are slower on several threads, and bit-identity is promised for one number of threads
