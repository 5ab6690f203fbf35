"""FSDP on a machine without an accelerator.

torch shards on a CPU as on a GPU (DTensors over gloo), but accelerate 1.15 asks for FSDP only in
processes that it finds on accelerators: processes on a CPU become ``MULTI_CPU``, which is DDP,
whatever the arguments say. Here they become ``FSDP``. All else is accelerate's, torch's and
transformers' own. FSDP version 1 stays out of reach: accelerate asks it for a device type, and
raises "There are currently no available devices found".
"""

from accelerate import state
from accelerate.utils import DistributedType


def allow_fsdp_on_cpu():
    original = state.AcceleratorState.__init__

    def init(self, *args, fsdp_plugin=None, **kwargs):
        original(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU and fsdp_plugin is not None:
            self.distributed_type = DistributedType.FSDP
            if self._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(self._mixed_precision)
            self.fsdp_plugin = fsdp_plugin
            state.PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    state.AcceleratorState.__init__ = init
