"""The repositories: their commits, how the author's own network is made (small, where its constructor allows), and what
a user adds to have it compiled.

``lines`` come between making the network, ``net``, and saving it; each module of the repository that was imported is
there under its own name. ``model.eval()``, T and the layout are part of the call and not counted.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from benchmarks.published.shims import definitions, imported

__all__ = ["REPOSITORIES", "Kind", "Repository"]

Kind = Literal["image", "events", "normal"] | int
Build = Callable[[Path], Any]


@dataclass(frozen=True)
class Repository:
    """One network of a repository.

    ``shape`` is of one step of one sample; ``steps`` is T. ``output_time`` is the axis of the output that is time, over
    which a program's output is the mean ("list": forward returns a list of its steps). ``inputs``: numbers from 0 to 1,
    zeros and ones, normally distributed, or whole numbers below the one given. ``also``: shape and kind of what else
    forward takes.
    """

    name: str
    source: str
    commit: str
    files: tuple[str, ...]
    build: Build
    shape: tuple[int, ...]
    layout: str
    steps: int
    output_time: int | Literal["list"] | None = None
    lines: tuple[str, ...] = ()
    shims: tuple[str, ...] = ()
    inputs: Kind = "image"
    also: tuple[tuple[tuple[int, ...], Kind], ...] = ()
    samples: int = 4

    @property
    def folder(self) -> str:
        """Where it is among the sources."""
        return self.source.replace("/", "+")


REPOSITORIES: dict[str, Repository] = {}


def _repository(
    source: str, commit: str, *files: str, shape: tuple[int, ...], layout: str, steps: int, **more: Any
) -> Callable[[Build], Build]:
    """Enter a builder, under its own name, into the table. It is given the folder of its repository."""

    def enter(build: Build) -> Build:
        name = build.__name__.strip("_").replace("_", "-")
        REPOSITORIES[name] = Repository(name, source, commit, files, build, shape, layout, steps, **more)
        return build

    return enter


# -- networks of classes of their own ----------------------------------------------------------------------------------


@_repository(
    "Gus-Lab/temporal_efficient_training",
    "f9bde4107ed653cc8dd3ee58689bf3b55f6b89ba",
    "models/resnet_models.py",
    shape=(3, 16, 16),
    layout="N",
    steps=4,
    output_time=1,
)
def _tet_resnet(here: Path) -> Any:
    models = imported(here, "models.resnet_models")
    net = models.ResNet(models.BasicBlock, [1, 1, 1])
    net.T = 4
    return net


@_repository(
    "ChaotengDuan/TEBN",
    "8f82f6a307093faddeb87127aa432a66d65352ea",
    "models.py",
    shape=(3, 32, 32),
    layout="N",
    steps=4,
    output_time=1,
    samples=2,
)
def _tebn_vgg9(here: Path) -> Any:
    return imported(here, "models").VGG9()


@_repository(
    "Ariande1/MS-ResNet",
    "7c5f0066659fc6cee824db567d4a4d49a699916a",
    "models/MS_ResNet.py",
    shape=(3, 32, 32),
    layout="N",
    steps=6,
    samples=2,
)
def _ms_resnet(here: Path) -> Any:
    models = imported(here, "models.MS_ResNet")
    return models.ResNet_origin_18(models.BasicBlock_18, [1, 1, 1, 1], num_classes=10)


def _spike_model(here: Path) -> Any:
    models, resnet = imported(here, "models"), imported(here, "models.resnet")
    net = models.SpikeModel(resnet.ResNet_Cifar_Modified(resnet.BasicBlock, [1, 1, 1, 1]), step=3)
    net.set_spike_state(True)
    return net


@_repository(
    "yfguo91/IM-Loss-Information-Maximization-Loss-for-Spiking-Neural-Networks",
    "c12bca361485b908b0693b0b9ea54a297e69585a",
    "models/spike_model.py",
    "models/resnet.py",
    shape=(3, 16, 16),
    layout="N",
    steps=3,
    shims=("IPython",),
    samples=2,
)
def _im_loss(here: Path) -> Any:
    return _spike_model(here)


@_repository(
    "yfguo91/Re-Loss",
    "0937f361978f6573d67f3b3e15d4eeef05583fe2",
    "models/spike_model.py",
    "models/resnet.py",
    shape=(3, 16, 16),
    layout="N",
    steps=3,
    shims=("IPython",),
    samples=2,
    # It moves membranes about on their own side of the threshold, which is for training alone.
    lines=("models.spike_layer.MPR = lambda membrane, threshold: membrane",),
)
def _re_loss(here: Path) -> Any:
    return _spike_model(here)


@_repository(
    "yfguo91/Ternary-Spike",
    "2aca58747f01d7960cb6f0284665bbb353d35aab",
    "models/spike_model.py",
    "models/resnet.py",
    shape=(3, 16, 16),
    layout="N",
    steps=3,
    shims=("IPython",),
    samples=2,
)
def _ternary_spike(here: Path) -> Any:
    return _spike_model(here)


@_repository(
    "yfguo91/Joint-A-SNN",
    "1c4a6799797c8dbcfb0dbe833779650ec66135cc",
    "models/resnet.py",
    shape=(3, 32, 32),
    layout="N",
    steps=2,
    samples=2,
    lines=(
        "class Spiking(type(net)):",
        "    def forward(self, x):",
        "        return super().forward(x, snn_only=True)[0]",
        "net.__class__ = Spiking",
    ),
)
def _joint_a_snn(here: Path) -> Any:
    models = imported(here, "models.resnet")
    return models.Multi_ResNet(models.BasicBlock, [1, 1, 1, 1], num_classes=10)


@_repository(
    "Intelligent-Computing-Lab-Yale/NDA_SNN",
    "d355bcb813c6e00c162a20ae7fd5c817b7014c02",
    "models/VGG_models.py",
    shape=(2, 16, 16),
    layout="NT",
    steps=4,
    output_time=1,
    inputs="events",
)
def _nda_vgg(here: Path) -> Any:
    return imported(here, "models.VGG_models").VGG([16, "M", 32, "M", 64, 64], in_c=2)


@_repository(
    "Ikarosy/Gated-LIF",
    "60638b28ff8b688b51867e7dd44f1e065d4892b0",
    "networks_for_CIFAR.py",
    "layers.py",
    shape=(3, 32, 32),
    layout="N",
    steps=3,
    samples=2,
    shims=("clock_driven",),
)
def _gated_lif(here: Path) -> Any:
    networks = imported(here, "networks_for_CIFAR")
    gates = {"gate": [0.6, 0.8, 0.6], "param": [networks.tau, networks.Vth, networks.linear_decay, networks.conduct]}
    more = {"static_gate": False, "static_param": False, "time_wise": False, "soft_mode": False}
    return networks.ResNet_18_stand_CW({**gates, "t": 3, **more}, n_class=10)


@_repository(
    "sq117/LTMD",
    "1766d5e9595e8d6f817d796f21b8a7812b9fa3b6",
    "cifar10/modelnew.py",
    "cifar10/layersnew.py",
    shape=(3, 16, 16),
    layout="N..T",
    steps=4,
    shims=("xlsxwriter", "openpyxl"),
)
def _ltmd_densenet(here: Path) -> Any:
    return imported(here / "cifar10", "modelnew").DenseNet(None, 8, (2, 2), 16, drop_rate=0)


@_repository(
    "thiswinex/STBP-simple",
    "a15de7c0632860434c2ac15d255defb4ea86a54d",
    "model.py",
    "layers.py",
    shape=(1, 28, 28),
    layout="N..T",
    steps=2,
    lines=("model.steps = layers.STEPS",),
)
def _stbp_simple(here: Path) -> Any:
    return imported(here, "model").MNISTNet()


@_repository(
    "stonezwr/TSSL-BP",
    "ffaac71d3344172980f048d98b123e40c5420401",
    "cnns.py",
    "Networks/MNIST_CNN.yaml",
    shape=(1, 28, 28),
    layout="N..T",
    steps=5,
    output_time=4,
    inputs="events",
    shims=("cuda",),
    lines=(
        "class Network(type(net)):",
        "    def forward(self, spikes):",
        "        return super().forward(spikes, 0, False)",
        "net.__class__ = Network",
    ),
)
def _tssl_bp(here: Path) -> Any:
    cnns, state = imported(here, "cnns"), imported(here, "global_v")
    settings = {"n_steps": 5, "rule": "TSSLBP", "tau_m": 5, "tau_s": 3, "model": "LIF"}
    layers = {
        "conv_1": {"type": "conv", "in_channels": 1, "out_channels": 15, "kernel_size": 5, "threshold": 1},
        "pooling_1": {"type": "pooling", "kernel_size": 2, "threshold": 1},
        "conv_2": {"type": "conv", "in_channels": 15, "out_channels": 40, "kernel_size": 5, "threshold": 1},
        "pooling_2": {"type": "pooling", "kernel_size": 2, "threshold": 1},
        "FC_1": {"type": "linear", "n_inputs": 640, "n_outputs": 300, "threshold": 1},
        "output": {"type": "linear", "n_inputs": 300, "n_outputs": 10, "threshold": 1},
    }
    state.init(5, 3)
    return cnns.Network(settings, layers, [1, 28, 28])


@_repository(
    "loiccordone/sparse-spiking-neural-networks",
    "79929bf7eca50cd3292091514b91e0e877c43747",
    "models/snn.py",
    shape=(128, 128),
    layout="NT",
    steps=4,
    inputs="events",
    samples=2,
    lines=(
        "class Channels(type(net)):",
        "    def forward(self, x):",
        "        return super().forward(x[:, None])",
        "net.__class__ = Channels",
    ),
)
def _sparse_snn(here: Path) -> Any:
    return imported(here, "models.snn").DenseSNN()


# -- neurons written into forward --------------------------------------------------------------------------------------


@_repository(
    "nitin-rathi/DIET-SNN",
    "4c7527b286c4ff7979818903f8630814dfae4b2c",
    "self_models/vgg_spiking.py",
    shape=(1, 28, 28),
    layout="N",
    steps=5,
    shims=("cuda",),
)
def _diet_snn(here: Path) -> Any:
    models = imported(here, "self_models.vgg_spiking")
    return models.VGG_SNN_STDB("VGG4", dataset="MNIST", timesteps=5, leak=0.9)


@_repository(
    "nitin-rathi/hybrid-snn-conversion",
    "3f6832cd844ef2d0eb8e13ba414e8bffba1d6151",
    "self_models/vgg_spiking.py",
    shape=(1, 28, 28),
    layout="N",
    steps=16,
    shims=("cuda",),
    inputs="events",
    samples=2,
    lines=("net.input_layer = torch.nn.Identity()",),
)
def _hybrid_conversion(here: Path) -> Any:
    models = imported(here, "self_models.vgg_spiking")
    return models.VGG_SNN_STDB("VGG9", dataset="MNIST", timesteps=16, leak=0.9)


@_repository(
    "Intelligent-Computing-Lab-Yale/BNTT-Batch-Normalization-Through-Time",
    "bdf5250d75e6a17dd6b51aad8327900d9ed662ed",
    "model.py",
    shape=(3, 16, 16),
    layout="N",
    steps=4,
    shims=("cuda",),
    samples=2,
    lines=("model.PoissonGen = lambda inp: inp",),
)
def _bntt_vgg9(here: Path) -> Any:
    return imported(here, "model").SNN_VGG9_BNTT(num_steps=4, img_size=16)


@_repository(
    "combra-lab/pop-spiking-deep-rl",
    "5e5b9047899e9f5282d14c8b8212073aa12742ce",
    "popsan_drl/popsan_ppo/popsan.py",
    shape=(8,),
    layout="N",
    steps=5,
    inputs="normal",
    samples=16,
    lines=(
        "class Actor(type(net)):",
        "    def forward(self, obs):",
        "        return super().forward(obs, len(obs))[0]",
        "net.__class__ = Actor",
    ),
)
def _popsan(here: Path) -> Any:
    popsan = imported(here, "popsan_drl.popsan_ppo.popsan")
    return popsan.PopSpikeActor(8, 2, 10, 10, [64, 64], (-3, 3), 0.15**0.5, 5, "cpu")


@_repository(
    "combra-lab/spiking-ddpg-mapless-navigation",
    "00f394d6b0607519ee58d114b8766d1b00ca4e85",
    "training/train_spiking_ddpg/sddpg_networks.py",
    shape=(24,),
    layout="N..T",
    steps=5,
    inputs="events",
    samples=16,
    lines=(
        "class Actor(type(net)):",
        "    def forward(self, x):",
        "        return super().forward(x, len(x))",
        "net.__class__ = Actor",
    ),
)
def _spiking_ddpg(here: Path) -> Any:
    networks = imported(here / "training" / "train_spiking_ddpg", "sddpg_networks")
    return networks.ActorNetSpiking(24, 2, "cpu", 5, 64, 64, 64)


@_repository(
    "yjwu17/STBP-for-training-SpikingNN",
    "e3c0c93283cd76ac8af76f25cf52cb215aab7be8",
    "spiking_model.py",
    shape=(1, 28, 28),
    layout="N",
    steps=20,
    inputs="events",
    lines=(
        "class Sized(type(net)):",
        "    def forward(self, x):",
        "        spiking_model.batch_size = len(x)",
        "        return super().forward(x)",
        "net.__class__ = Sized",
    ),
)
def _stbp_scnn(here: Path) -> Any:
    return imported(here, "spiking_model").SCNN()


@_repository(
    "idiap/sparch",
    "f8756254ab8d0e3337eb69542c684b922d6b6cbd",
    "sparch/models/snns.py",
    shape=(40,),
    layout="NT",
    steps=10,
    inputs="events",
    lines=(
        "class Network(type(net)):",
        "    def forward(self, x):",
        "        return super().forward(x)[0]",
        "net.__class__ = Network",
    ),
)
def _sparch(here: Path) -> Any:
    return imported(here, "sparch.models.snns").SNN((4, 10, 40), [32, 32, 10])


# -- converted from networks without spikes ----------------------------------------------------------------------------


@_repository(
    "putshua/ANN_SNN_QCFS",
    "eca136bd085087567013240ee14fb6159a2b6da7",
    "Models/ResNet.py",
    "Models/layer.py",
    shape=(3, 16, 16),
    layout="N",
    steps=4,
    output_time=0,
    shims=("cv2",),
)
def _qcfs_resnet(here: Path) -> Any:
    models = imported(here, "Models.ResNet")
    net = models.ResNet4Cifar(models.BasicBlock, [1, 1, 1])
    net.set_T(4)
    return net


@_repository(
    "putshua/SNN-RAT",
    "d73f1056b9a58e4b45ba08500b50f769fe02829a",
    "models/WideResNet.py",
    "models/layers.py",
    shape=(3, 32, 32),
    layout="N",
    steps=2,
    output_time=0,
    shims=("sklearn",),
    samples=1,
)
def _snn_rat(here: Path) -> Any:
    models = imported(here, "models.WideResNet")
    return models.WideResNet("wideresnet16", 2, 10, ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))


@_repository(
    "yhhhli/SNN_Calibration",
    "4aece7c1708fc856f6ad0f926ac6eb9e754c1358",
    "models/spiking_layer.py",
    "models/CIFAR/models/resnet.py",
    shape=(3, 16, 16),
    layout="N",
    steps=4,
    shims=("torchvision",),
)
def _snn_calibration(here: Path) -> Any:
    spiking, resnet = imported(here, "models.spiking_layer"), imported(here, "models.CIFAR.models.resnet")
    ann = resnet.ResNet_Cifar(resnet.BasicBlock, [1, 1, 1], use_bn=False)
    net = spiking.SpikeModel(ann, sim_length=4, specials=resnet.res_specials)
    images = torch.rand(8, 3, 16, 16)
    spiking.get_maximum_activation([(images, None)], model=net, mse=False, sim_length=4)
    net.set_spike_state(use_spike=True)
    return net


# -- SpikingJelly, former and present ----------------------------------------------------------------------------------


@_repository(
    "yfguo91/Real-Spike",
    "288417509e49dbe2059286136bfa553ff06fbfc8",
    "sew_resnet.py",
    shape=(3, 32, 32),
    layout="N",
    steps=3,
    shims=("clock_driven", "cext"),
    samples=2,
)
def _real_spike(here: Path) -> Any:
    models = imported(here, "sew_resnet")
    return models.SEWResNet(models.BasicBlock, [1, 1, 1, 1], 10, T=3, connect_f="ADD")


@_repository(
    "fangwei123456/Spike-Element-Wise-ResNet",
    "cfc547c5e8196b1a16ebc596509b4dffea7c306f",
    "cifar10dvs/smodels.py",
    shape=(2, 128, 128),
    layout="NT",
    steps=3,
    inputs="events",
    shims=("clock_driven", "cext"),
    samples=2,
)
def _sew_resnet(here: Path) -> Any:
    models = imported(here / "cifar10dvs", "smodels")
    layers = [
        {"channels": 8, "up_kernel_size": 1, "mid_channels": 8, "num_blocks": 1, "block_type": "sew", "k_pool": 4},
        {"channels": 16, "up_kernel_size": 1, "mid_channels": 16, "num_blocks": 1, "block_type": "sew", "k_pool": 4},
    ]
    return models.ResNetN(layers, 10, "ADD")


@_repository(
    "fangwei123456/Parametric-Leaky-Integrate-and-Fire-Spiking-Neuron",
    "f644ff652f8551021c8b45d5702f38b92a3bce72",
    "codes/models.py",
    shape=(2, 34, 34),
    layout="NT",
    steps=4,
    inputs="events",
    shims=("torchvision", "clock_driven 0.0.0.0.2"),
)
def _plif_net(here: Path) -> Any:
    models = imported(here / "codes", "models")
    return models.NMNISTNet(4, 2.0, True, True, False, True, 16, 2)


@_repository(
    "Intelligent-Computing-Lab-Yale/Exploring-Lottery-Ticket-Hypothesis-in-SNNs",
    "05602e82592273fea2e167f902b49a8c94c256b7",
    "archs/cifarsvhn/vgg.py",
    shape=(3, 32, 32),
    layout="N",
    steps=4,
    output_time="list",
    shims=("clock_driven",),
)
def _lottery_vgg(here: Path) -> Any:
    models = imported(here / "archs" / "cifarsvhn", "vgg")
    features = models.make_layers([16, "M", 32, "M", 64, "M", 64, "M", 512, "M"], batch_norm=True)
    return models.VGG(features, total_timestep=4)


@_repository(
    "Intelligent-Computing-Lab-Yale/Neural-Architecture-Search-for-Spiking-Neural-Networks",
    "498040912ccf9634a137bdade47689d335dce2c8",
    "model_snn.py",
    shape=(3, 32, 32),
    layout="N",
    steps=3,
    shims=("clock_driven",),
    samples=1,
)
def _snasnet(here: Path) -> Any:
    settings = Namespace(
        timestep=3, second_avgpooling=4, dataset="cifar10", celltype="backward", threshold=1.0, tau=4.0 / 3.0
    )
    connections = torch.tensor([[0, 2, 0, 1], [0, 0, 2, 0], [0, 1, 0, 4], [2, 0, 0, 0]])
    return imported(here, "model_snn").SNASNet(settings, connections)


@_repository(
    "qymeng94/SLTT",
    "0758ecd1b7ba965769c9f1e8b1801ef26cc147b1",
    "models/spiking_resnet.py",
    "modules/neuron.py",
    shape=(3, 32, 32),
    layout="loop",
    steps=4,
    output_time=0,
    shims=("clock_driven",),
    samples=2,
)
def _sltt_resnet(here: Path) -> Any:
    models, neuron = imported(here, "models.spiking_resnet"), imported(here, "modules.neuron")
    surrogate = imported(here, "modules.surrogate")
    return models.PreActResNet(
        models.PreActBlock,
        [1, 1, 1, 1],
        10,
        0.0,
        neuron=neuron.BPTTNeuron,
        tau=1.1,
        surrogate_function=surrogate.Rectangle(),
        c_in=3,
        fc_hw=1,
    )


@_repository(
    "HuuYuLong/Complementary-LIF",
    "d76af5918b5797be367150d6761d10946dcab30b",
    "models/spiking_resnet.py",
    "modules/neuron.py",
    shape=(3, 32, 32),
    layout="loop",
    steps=4,
    output_time=0,
    shims=("clock_driven",),
    samples=2,
)
def _complementary_lif(here: Path) -> Any:
    models, neuron = imported(here, "models.spiking_vgg_bn"), imported(here, "modules.neuron")
    return models.SpikingVGGBN("VGG11", neuron.ComplementaryLIFNeuron, tau=2.0, c_in=3)


@_repository(
    "Apple26419/SNN_DSD",
    "4a12b21a027c472a7423d1a9516608e496a75f99",
    "models/spiking_vgg_bn.py",
    "modules/neuron.py",
    shape=(3, 32, 32),
    layout="loop",
    steps=4,
    output_time=0,
    shims=("clock_driven",),
    samples=2,
)
def _dsd_vgg(here: Path) -> Any:
    models, neuron = imported(here, "models.spiking_vgg_bn"), imported(here, "modules.neuron")
    surrogate = imported(here, "modules.surrogate")
    return models.SpikingVGGBN("VGG11", neuron.BPTTNeuron, tau=1.1, c_in=3, surrogate_function=surrogate.Rectangle())


@_repository(
    "pkuxmq/OTTT-SNN",
    "c15d5da05eea0c48e1fa837a4f8073297006d93f",
    "models/spiking_vgg.py",
    "modules/neuron.py",
    shape=(3, 16, 16),
    layout="N",
    steps=4,
    samples=2,
    lines=(
        "class Steps(type(net)):",
        "    def forward(self, x):",
        "        return sum(super(Steps, self).forward(x, init=t == 0) for t in range(4)) / 4",
        "net.__class__ = Steps",
    ),
)
def _ottt_vgg(here: Path) -> Any:
    models, neuron = imported(here, "models.spiking_vgg"), imported(here, "modules.neuron")
    net = models.OnlineSpikingVGG(
        [16, "M", 32, "M", 512], single_step_neuron=neuron.OnlineLIFNode, fc_hw=1, num_classes=10
    )
    return net


@_repository(
    "loiccordone/object-detection-with-spiking-neural-networks",
    "6517e74a5b5179e8ab449ab421498fe5f1917436",
    "models/spiking_vgg.py",
    shape=(2, 16, 16),
    layout="loop",
    steps=4,
    output_time=0,
    inputs="events",
    shims=("clock_driven",),
)
def _event_vgg(here: Path) -> Any:
    models = imported(here / "models", "spiking_vgg")
    neuron = imported(here, "spikingjelly.clock_driven.neuron")
    # Of its variants the one that takes a step a call: the other hands neurons of many steps samples for steps.
    return models.spiking_vgg_custom(
        2, [16, 16, "M", 32, 32, "M"], nn.BatchNorm2d, neuron.ParametricLIFNode, num_classes=2
    )


@_repository(
    "Thvnvtos/SNN-delays",
    "d169b4e3049a3d5bff56c84a8b2f0c4e835aafda",
    "snn.py",
    "config.py",
    shape=(140,),
    layout="TN",
    steps=10,
    output_time=0,
    inputs="events",
    shims=("wandb", "torchvision", "torchaudio", "datasets", "DCLS"),
)
def _snn_delays(here: Path) -> Any:
    config = imported(here, "config").Config
    config.model_type, config.loss, config.output_v_threshold = "snn", "spike_count", 1.0
    return imported(here, "snn").SNN(config)


@_repository(
    "fangwei123456/spikingjelly",
    "afb132264a8cbe38d0f221dcef04053e6ba134d3",
    "spikingjelly/activation_based/examples/conv_fashion_mnist.py",
    shape=(1, 28, 28),
    layout="N",
    steps=4,
    shims=("torchvision", "torch.utils.tensorboard"),
)
def _spikingjelly_csnn(here: Path) -> Any:
    example = here / "spikingjelly" / "activation_based" / "examples" / "conv_fashion_mnist.py"
    return definitions(example)["CSNN"](4, 8)


def _sequential(here: Path, name: str) -> Any:
    from spikingjelly.activation_based import functional

    example = here / "spikingjelly" / "activation_based" / "examples" / "rsnn_sequential_fmnist.py"
    net = definitions(example)[name]()
    functional.set_step_mode(net, "m")
    return net


@_repository(
    "fangwei123456/spikingjelly",
    "afb132264a8cbe38d0f221dcef04053e6ba134d3",
    "spikingjelly/activation_based/examples/rsnn_sequential_fmnist.py",
    shape=(28,),
    layout="TN",
    steps=10,
    shims=("torchvision", "torch.utils.tensorboard"),
)
def _spikingjelly_feedback(here: Path) -> Any:
    return _sequential(here, "FeedBackNet")


@_repository(
    "fangwei123456/spikingjelly",
    "afb132264a8cbe38d0f221dcef04053e6ba134d3",
    "spikingjelly/activation_based/examples/rsnn_sequential_fmnist.py",
    shape=(28,),
    layout="TN",
    steps=10,
    shims=("torchvision", "torch.utils.tensorboard"),
)
def _spikingjelly_synapses(here: Path) -> Any:
    return _sequential(here, "StatefulSynapseNet")


# -- snnTorch and Norse ------------------------------------------------------------------------------------------------

_TUTORIALS = "examples"


def _tutorial(here: Path, file: str, **given: Any) -> dict[str, Any]:
    imported(here, "snntorch")
    return definitions(here / _TUTORIALS / file, {"device": torch.device("cpu"), **given})


@_repository(
    "jeshraghian/snntorch",
    "634fc22385ec5581998e62787bbe39b53662140f",
    "examples/tutorial_5_FCN.ipynb",
    shape=(64,),
    layout="N",
    steps=8,
    output_time=0,
    shims=("torchvision", "tqdm"),
)
def _snntorch_tutorial_5(here: Path) -> Any:
    sizes = {"num_inputs": 64, "num_hidden": 100, "num_outputs": 10, "num_steps": 8, "beta": 0.95}
    return _tutorial(here, "tutorial_5_FCN.ipynb", **sizes)["Net"]()


@_repository(
    "jeshraghian/snntorch",
    "634fc22385ec5581998e62787bbe39b53662140f",
    "examples/tutorial_6_CNN.ipynb",
    shape=(1, 28, 28),
    layout="loop",
    steps=6,
    output_time=0,
    shims=("torchvision", "tqdm"),
)
def _snntorch_tutorial_6(here: Path) -> Any:
    return _tutorial(here, "tutorial_6_CNN.ipynb")["net"]


@_repository(
    "jeshraghian/snntorch",
    "634fc22385ec5581998e62787bbe39b53662140f",
    "examples/tutorial_7_neuromorphic_datasets.ipynb",
    shape=(2, 32, 32),
    layout="loop",
    steps=6,
    output_time=0,
    inputs="events",
    shims=("torchvision", "tonic", "tqdm"),
)
def _snntorch_tutorial_7(here: Path) -> Any:
    return _tutorial(here, "tutorial_7_neuromorphic_datasets.ipynb")["net"]


@_repository(
    "jeshraghian/snntorch",
    "634fc22385ec5581998e62787bbe39b53662140f",
    "examples/tutorial_regression_1.ipynb",
    shape=(1,),
    layout="TN",
    steps=8,
    output_time=0,
    shims=("torchvision", "tqdm"),
)
def _snntorch_regression_1(here: Path) -> Any:
    return _tutorial(here, "tutorial_regression_1.ipynb")["Net"](8, 64)


@_repository(
    "jeshraghian/snntorch",
    "634fc22385ec5581998e62787bbe39b53662140f",
    "examples/tutorial_regression_2.ipynb",
    shape=(784,),
    layout="N",
    steps=8,
    output_time=0,
    shims=("torchvision", "tqdm"),
)
def _snntorch_regression_2(here: Path) -> Any:
    return _tutorial(here, "tutorial_regression_2.ipynb")["Net"](8, 64, 0.9)


@_repository(
    "norse/norse",
    "065a3b45cf13bc8156d18987380f6d26c09f08a2",
    "norse/torch/models/conv.py",
    shape=(1, 28, 28),
    layout="TN",
    steps=8,
    output_time=0,
    shims=("nir", "nirtorch"),
)
def _norse_conv(here: Path) -> Any:
    return imported(here, "norse.torch.models.conv").ConvNet()


# -- those of docs/layouts.md ------------------------------------------------------------------------------------------


@_repository(
    "qymeng94/DSR",
    "876c8d1ac41541b42d39cecdfce4d4b45bdcf365",
    "cifar/modules/preresnet.py",
    "cifar/modules/neuron.py",
    shape=(3, 32, 32),
    layout="N",
    steps=4,
)
def _dsr_resnet(here: Path) -> Any:
    models = imported(here / "cifar", "modules.preresnet")
    settings = {"timesteps": 4, "train_Vth": True, "Vth": 1.0, "alpha": 0.5, "Vth_bound": 0.01, "rate_stat": False}
    return models.PreActResNet(models.PreActBlock, [1, 1, 1, 1], 10, 0.0, settings, "if")


@_repository(
    "yfguo91/MPBN",
    "149379dc01c28a9cd44d34f173060c06d72efb37",
    "models/spike_model.py",
    "models/resnet.py",
    shape=(3, 16, 16),
    layout="N",
    steps=4,
    shims=("IPython",),
)
def _mpbn(here: Path) -> Any:
    models, resnet = imported(here, "models"), imported(here, "models.resnet")
    net = models.SpikeModel(resnet.ResNet_Cifar(resnet.BasicBlock, [1, 1, 1]), step=4)
    net.set_spike_state(True)
    return net


def _sgad(here: Path, module: str) -> Any:
    settings = {"n_steps": 16, "device": "cpu", "encode_type": "direct", "scoring_mode": "AttentionScoring_1"}
    imported(here, "global_v").init(settings)
    return imported(here, f"models.{module}")


@_repository(
    "Brain-Cog-Lab/sgad",
    "b7b8b0cd33fdb6d28f0908827f9b95a47c566000",
    "models/generators.py",
    "models/nodes.py",
    shape=(10,),
    layout="N",
    steps=16,
    inputs="normal",
    shims=("torchvision", "turtle"),
    samples=2,
    # Attention over the steps' images: a host computes it.
    lines=(
        "@neurocompile.host",
        "class Scored(torch.nn.Sequential):",
        "    def forward(self, steps):",
        "        self[1].n_reset()",
        "        return [self[1](image) for image in self[0](steps)][-1]",
        "net = torch.nn.Sequential(net, Scored(*net.conv2[1:]))",
        "net[0].conv2 = net[0].conv2[:1]",
    ),
)
def _sgad_generator(here: Path) -> Any:
    return _sgad(here, "generators").Generator_MP_Scoring_Mnist(input_dim=10, is_split=True)


@_repository(
    "Brain-Cog-Lab/sgad",
    "b7b8b0cd33fdb6d28f0908827f9b95a47c566000",
    "models/discriminators.py",
    "models/nodes.py",
    shape=(1, 28, 28),
    layout="TN",
    steps=16,
    shims=("torchvision", "turtle"),
    samples=2,
)
def _sgad_discriminator(here: Path) -> Any:
    return _sgad(here, "discriminators").Discriminator_EM_MNIST()


@_repository(
    "AndyCao1125/SDDPM",
    "91632f6138575fb7e6388e98f02c318b961a1d4d",
    "model/SpikingUNet.py",
    shape=(1, 16, 16),
    layout="N",
    steps=4,
    inputs="normal",
    also=(((), 1000),),
    lines=("neurocompile.host(model.SpikingUNet.Swish)",),
)
def _sddpm_unet(here: Path) -> Any:
    return imported(here, "model.SpikingUNet").Spk_UNet(
        T=1000, ch=16, ch_mult=[1, 2], attn=[], num_res_blocks=1, dropout=0.1, timestep=4, img_ch=1
    )


def _fsvae(here: Path) -> Any:
    settings = {"batch_size": 250, "n_steps": 16, "in_channels": 1, "lr": 0.001, "latent_dim": 128, "k": 20}
    imported(here, "global_v").init(settings, ["cpu"])
    return imported(here, "fsvae_models.fsvae").FSVAE()


# The authors draw an index at each step: here it is an input.
_PICK = (
    "@neurocompile.host(carries='spikes')",
    "class Pick(torch.nn.Module):",
    "    def forward(self, spikes, index):",
    "        return spikes.unflatten(1, (-1, 20)).gather(2, index.long()[..., None])[..., 0]",
    "net.pick = Pick()",
)


@_repository(
    "kamata1729/FullySpikingVAE",
    "ffadb3d4bf4fe02927acb241ac11e6ad693c22dc",
    "fsvae_models/fsvae.py",
    "fsvae_models/fsvae_posterior.py",
    "fsvae_models/snn_layers.py",
    shape=(1, 32, 32),
    layout="N..T",
    steps=16,
    also=(((128,), 20),),
    samples=2,
    lines=(
        *_PICK,
        "class Reconstruction(type(net)):",
        "    def forward(self, x, index):",
        "        h = self.before_latent_layer(self.encoder(x).flatten(1, 3))",
        "        z = [torch.zeros_like(h[..., 0])] * 17",
        "        for t in range(16):",
        "            q = self.posterior.layers(torch.cat((h, torch.stack(z[:16], -1)), 1))",
        "            z[t + 1] = self.pick(q[..., t], index[..., t])",
        "        return self.decode(torch.stack(z[1:], -1))",
        "net.__class__ = Reconstruction",
    ),
)
def _fsvae_reconstruction(here: Path) -> Any:
    return _fsvae(here)


@_repository(
    "kamata1729/FullySpikingVAE",
    "ffadb3d4bf4fe02927acb241ac11e6ad693c22dc",
    "fsvae_models/fsvae.py",
    "fsvae_models/fsvae_prior.py",
    "fsvae_models/snn_layers.py",
    shape=(128,),
    layout="N..T",
    steps=16,
    inputs=20,
    samples=2,
    lines=(
        *_PICK,
        "class Sampling(type(net)):",
        "    def forward(self, index):",
        "        z = [index[..., 0] * 0.0] * 17",
        "        for t in range(16):",
        "            q = self.prior.layers(torch.stack(z[:16], -1))",
        "            z[t + 1] = self.pick(q[..., t], index[..., t])",
        "        return self.decode(torch.stack(z[1:], -1))",
        "net.__class__ = Sampling",
    ),
)
def _fsvae_sampling(here: Path) -> Any:
    return _fsvae(here)


# -- attention ---------------------------------------------------------------------------------------------------------

_FORMER = ("timm.layers", "clock_driven", "cupy")


@_repository(
    "ZK-Zhou/spikformer",
    "621268981827af47aa666c1b5f774de4281d90ad",
    "cifar10/model.py",
    shape=(3, 16, 16),
    layout="N",
    steps=3,
    shims=_FORMER,
    samples=2,
)
def _spikformer(here: Path) -> Any:
    return imported(here / "cifar10", "model").Spikformer(
        16, 16, 4, 3, 10, embed_dims=64, num_heads=4, mlp_ratios=2, depths=1, sr_ratios=1, T=3
    )


@_repository(
    "zhouchenlin2096/Spikingformer",
    "4378623b82bb1999b137244950ad648566e148fd",
    "cifar10/model.py",
    shape=(3, 16, 16),
    layout="N",
    steps=3,
    shims=_FORMER,
    samples=2,
)
def _spikingformer(here: Path) -> Any:
    return imported(here / "cifar10", "model").vit_snn(
        16, 16, 4, 3, 10, embed_dims=64, num_heads=4, mlp_ratios=2, depths=1, sr_ratios=1, T=3
    )


@_repository(
    "zhouchenlin2096/QKFormer",
    "c2a00e8e54538e76f5954614a60c1d53824bbee9",
    "cifar10/model.py",
    shape=(3, 16, 16),
    layout="N",
    steps=3,
    shims=_FORMER,
    samples=2,
)
def _qkformer(here: Path) -> Any:
    return imported(here / "cifar10", "model").spiking_transformer(
        16, 16, 4, 3, 10, embed_dims=64, num_heads=8, mlp_ratios=2, depths=3, sr_ratios=1, T=3
    )


@_repository(
    "BICLab/Spike-Driven-Transformer",
    "3faa82272eb499e4d56ea77707d4536e7c69a54b",
    "model/spikeformer.py",
    "module/ms_conv.py",
    shape=(3, 16, 16),
    layout="N",
    steps=3,
    shims=_FORMER,
    samples=2,
)
def _spike_driven_transformer(here: Path) -> Any:
    return imported(here, "model.spikeformer").SpikeDrivenTransformer(
        16, 16, 4, 3, 10, embed_dims=64, num_heads=4, mlp_ratios=2, depths=1, sr_ratios=1, T=3, pooling_stat="0011"
    )


@_repository(
    "ridgerchu/TCJA",
    "5f211625d73aa0bde1f76e740f32a308dcafcc8c",
    "src/dvs128.py",
    "src/layers.py",
    shape=(2, 128, 128),
    layout="NT",
    steps=20,
    inputs="events",
    samples=1,
    shims=("clock_driven", "cupy"),
)
def _tcja(here: Path) -> Any:
    layers = imported(here / "src", "layers")
    names = {"TCJA": layers.TCJA, "VotingLayer": layers.VotingLayer}
    return definitions(here / "src" / "dvs128.py", names)["CextNet"](128)
