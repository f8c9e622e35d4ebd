"""What the names in a pickle stand for, by an allow-list; whatever is not on it is unknown code.

Anything that a pickle names is imported by an ordinary loader, and what it calls is run. Here a
name is only ever compared with this list.
"""

from __future__ import annotations

import re
from typing import Literal

_BY_MODULE = {
    "open_clip.coca_model": "CoCa",
    "open_clip.hf_model":
        "ClsLastHiddenStatePooler ClsPooler HFTextEncoder MaxPooler MeanPooler",
    "open_clip.loss": "ClipLoss CoCaLoss DistillClipLoss SigLipLoss",
    "open_clip.model":  # the others than the first two were there until open_clip 2.8
        "CLIP CustomTextCLIP Attention AttentionPool2d Bottleneck LayerNorm LayerNormFp32 "
        "ModifiedResNet QuickGELU ResidualAttentionBlock TimmModel Transformer VisualTransformer",
    "open_clip.modified_resnet": "AttentionPool2d Bottleneck ModifiedResNet",
    "open_clip.timm_model": "TimmModel",
    "open_clip.transform": "CenterCropOrPad",
    "open_clip.transformer":
        "Attention AttentionalPooler CustomResidualAttentionBlock CustomTransformer LayerNorm "
        "LayerNormFp32 LayerScale MultimodalTransformer PatchDropout QuickGELU "
        "ResidualAttentionBlock TextTransformer Transformer VisionTransformer",
    "timm.layers.activations": "GELU GELUTanh Sigmoid",
    "timm.layers.adaptive_avgmax_pool": "FastAdaptiveAvgPool SelectAdaptivePool2d",
    "timm.layers.attention": "Attention AttentionRope",
    "timm.layers.attention_pool": "AttentionPoolLatent",
    "timm.layers.classifier": "ClassifierHead NormMlpClassifierHead",
    "timm.layers.conv_bn_act": "ConvNormAct",
    "timm.layers.drop": "DropPath",
    "timm.layers.hybrid_embed": "HybridEmbed",
    "timm.layers.layer_scale": "LayerScale",
    "timm.layers.mlp": "GluMlp Mlp SwiGLU",
    "timm.layers.norm": "LayerNorm LayerNorm2d",
    "timm.layers.norm_act": "BatchNormAct2d LayerNormAct2d",
    "timm.layers.patch_embed": "PatchEmbed",
    "timm.layers.pos_embed_rel": "RelPosMlp",
    "timm.layers.pos_embed_sincos": "RotaryEmbeddingCat",
    "timm.layers.squeeze_excite": "SEModule",
    "timm.models.convnext": "ConvNeXt ConvNeXtBlock ConvNeXtStage",
    "timm.models.eva": "Eva EvaAttention EvaBlock EvaBlockPostNorm",
    "timm.models.fastvit":
        "Attention AttentionBlock ConvMlp FastVit FastVitStage LayerScale2d MobileOneBlock "
        "PatchEmbed RepConditionalPosEnc RepMixer RepMixerBlock ReparamLargeKernelConv",
    "timm.models.swin_transformer":
        "PatchMerging SwinTransformer SwinTransformerBlock SwinTransformerStage WindowAttention",
    "timm.models.vision_transformer": "Block VisionTransformer",
    "timm.models.vision_transformer_hybrid": "ConvStem",
    "timm.models.vision_transformer_relpos":
        "RelPosAttention RelPosBlock VisionTransformerRelPos",
    "timm.models.vitamin": "Downsample2d GeGluMlp MbConvLNBlock MbConvStages Stem StridedConv",
    "torch.nn.modules.activation":
        "CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid "
        "LogSoftmax Mish MultiheadAttention PReLU RReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax "
        "Softmax2d Softmin Softplus Softshrink Softsign Tanh Tanhshrink Threshold",
    "torch.nn.modules.adaptive": "AdaptiveLogSoftmaxWithLoss",
    "torch.nn.modules.batchnorm": "BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm",
    "torch.nn.modules.channelshuffle": "ChannelShuffle",
    "torch.nn.modules.container":
        "Container ModuleDict ModuleList ParameterDict ParameterList Sequential",
    "torch.nn.modules.conv":
        "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d",
    "torch.nn.modules.distance": "CosineSimilarity PairwiseDistance",
    "torch.nn.modules.dropout":
        "AlphaDropout Dropout Dropout1d Dropout2d Dropout3d FeatureAlphaDropout",
    "torch.nn.modules.flatten": "Flatten Unflatten",
    "torch.nn.modules.fold": "Fold Unfold",
    "torch.nn.modules.instancenorm": "InstanceNorm1d InstanceNorm2d InstanceNorm3d",
    "torch.nn.modules.linear": "Bilinear Identity Linear NonDynamicallyQuantizableLinear",
    "torch.nn.modules.loss":
        "BCELoss BCEWithLogitsLoss CTCLoss CosineEmbeddingLoss CrossEntropyLoss GaussianNLLLoss "
        "HingeEmbeddingLoss HuberLoss KLDivLoss L1Loss LinearCrossEntropyLoss MSELoss "
        "MarginRankingLoss MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss NLLLoss "
        "NLLLoss2d PoissonNLLLoss SmoothL1Loss SoftMarginLoss TripletMarginLoss "
        "TripletMarginWithDistanceLoss",
    "torch.nn.modules.module": "Module",
    "torch.nn.modules.normalization":
        "CrossMapLRN2d GroupNorm LayerNorm LocalResponseNorm RMSNorm",
    "torch.nn.modules.padding":
        "CircularPad1d CircularPad2d CircularPad3d ConstantPad1d ConstantPad2d ConstantPad3d "
        "ReflectionPad1d ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d "
        "ReplicationPad3d ZeroPad1d ZeroPad2d ZeroPad3d",
    "torch.nn.modules.pixelshuffle": "PixelShuffle PixelUnshuffle",
    "torch.nn.modules.pooling":
        "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d "
        "AdaptiveMaxPool2d AdaptiveMaxPool3d AvgPool1d AvgPool2d AvgPool3d FractionalMaxPool2d "
        "FractionalMaxPool3d LPPool1d LPPool2d LPPool3d MaxPool1d MaxPool2d MaxPool3d MaxUnpool1d "
        "MaxUnpool2d MaxUnpool3d",
    "torch.nn.modules.rnn": "GRU GRUCell LSTM LSTMCell RNN RNNBase RNNCell RNNCellBase",
    "torch.nn.modules.sparse": "Embedding EmbeddingBag",
    "torch.nn.modules.transformer":
        "Transformer TransformerDecoder TransformerDecoderLayer TransformerEncoder "
        "TransformerEncoderLayer",
    "torch.nn.modules.upsampling": "Upsample UpsamplingBilinear2d UpsamplingNearest2d",
    "transformers.activations": "GELUActivation QuickGELUActivation",
    "transformers.models.clip.configuration_clip": "CLIPConfig CLIPTextConfig CLIPVisionConfig",
    "transformers.models.clip.modeling_clip":
        "CLIPAttention CLIPEncoder CLIPEncoderLayer CLIPForImageClassification CLIPMLP CLIPModel "
        "CLIPSdpaAttention CLIPTextEmbeddings CLIPTextModel CLIPTextModelWithProjection "
        "CLIPTextTransformer CLIPVisionEmbeddings CLIPVisionModel CLIPVisionModelWithProjection "
        "CLIPVisionTransformer",
}  # fmt: skip

MODEL_CLASSES = frozenset(
    f"{module} {name}" for module, names in _BY_MODULE.items() for name in names.split()
)
"""Module and class, separated by a space."""


Group = Literal["tensors", "data", "code", "unknown"]

STORAGES = {
    "ByteStorage": ("U8", 1), "CharStorage": ("I8", 1), "ShortStorage": ("I16", 2),
    "IntStorage": ("I32", 4), "LongStorage": ("I64", 8), "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2), "FloatStorage": ("F32", 4), "DoubleStorage": ("F64", 8),
    "BoolStorage": ("BOOL", 1), "UntypedStorage": ("U8", 1), "ComplexFloatStorage": ("", 8),
    "ComplexDoubleStorage": ("", 16), "QInt8Storage": ("", 1), "QUInt8Storage": ("", 1),
    "QInt32Storage": ("", 4), "QUInt4x2Storage": ("", 1), "QUInt2x4Storage": ("", 1),
}  # fmt: skip
"""Storage classes of torch: the safetensors type ("" where there is none) and the bytes of one
element."""

TYPES = {
    "float8_e4m3fn": ("F8_E4M3", 1), "float8_e5m2": ("F8_E5M2", 1), "float8_e4m3fnuz": ("", 1),
    "float8_e5m2fnuz": ("", 1), "float8_e8m0fnu": ("", 1), "uint16": ("U16", 2),
    "uint32": ("U32", 4), "uint64": ("U64", 8), "complex32": ("", 4),
}  # fmt: skip
"""Types that have no storage class, so that the builder is told of them."""

_DTYPES = {
    *TYPES, "float16", "float32", "float64", "bfloat16", "half", "float", "double", "uint8", "int8",
    "int16", "int32", "int64", "short", "int", "long", "bool", "complex64", "complex128", "cfloat",
    "cdouble", "chalf", "quint8", "qint8", "qint32", "quint4x2", "quint2x4", "strided",
    "sparse_coo", "sparse_csr", "contiguous_format", "channels_last", "preserve_format",
    "per_tensor_affine", "per_channel_affine",
}  # fmt: skip

BUILDERS = {
    "torch Size",
    "torch device",
    "torch.serialization _get_layout",
    "torch._tensor _rebuild_from_type_v2",
    *(
        f"torch._utils _rebuild_{name}"
        for name in (
            *("tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state", "qtensor"),
            *("sparse_tensor", "meta_tensor_no_storage"),
        )
    ),
    *(
        f"torch.jit._pickle {name}"
        for name in (
            *("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist"),
            *("build_tensor_from_id", "restore_type_tag"),
        )
    ),
}
"""Functions of torch that a checkpoint calls; its other names are only mentioned."""

_TENSORS = {
    *BUILDERS,
    *(f"torch {name}" for name in STORAGES),
    *(f"torch.storage {name}" for name in ("UntypedStorage", "TypedStorage", "_UntypedStorage")),
    *(f"torch.cuda {name}" for name in STORAGES),
    "torch Tensor",
    "torch.nn.parameter Parameter",
    "torch.nn.parameter Buffer",
}

_DATA = {
    "collections OrderedDict",
    "collections defaultdict",
    "collections Counter",
    "argparse Namespace",
    "types SimpleNamespace",
    "_codecs encode",
    "copy_reg _reconstructor",
    "copyreg _reconstructor",
    "builtins object",
    "__builtin__ object",
    *(
        f"{module} {name}"
        for module in ("builtins", "__builtin__")
        for name in (
            *("set", "frozenset", "bytearray", "complex", "slice", "range"),
            *("list", "dict", "tuple", "int", "float", "str", "bool", "bytes"),
            *("xrange", "unicode", "long"),  # range, str and int in protocols 0 to 2
        )
    ),
    *(f"datetime {name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    *(
        f"{module} {name}"
        for module in ("pathlib", "pathlib._local")
        for name in (
            *("Path", "PosixPath", "WindowsPath"),
            *("PurePath", "PurePosixPath", "PureWindowsPath"),
        )
    ),
    "timm.layers.format Format",
    "numpy dtype",
    "numpy ndarray",
    *(
        f"{module} {name}"
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("scalar", "_reconstruct")
    ),
    "numpy.core.numeric _frombuffer",
    "numpy._core.numeric _frombuffer",
    *(f"torch {name}" for name in _DTYPES),
}

MAPPINGS = {"collections OrderedDict", "collections defaultdict", "collections Counter"}
"""Classes that are dictionaries: their items are set like those of one."""

_ACTIVATIONS = {
    *(f"torch.nn.functional {name}" for name in ("relu", "gelu", "silu", "tanh", "sigmoid")),
    *("torch._C._nn gelu", "torch._C._nn silu", "torch relu", "torch tanh", "torch sigmoid"),
}
"""Functions that whole modules keep; kept inert like their classes."""
_IDENTIFIER = re.compile(r"[A-Za-z_]\w{0,199}\Z", re.ASCII)


def group_of(module: str, name: str, *, script: bool = False) -> Group:
    """Tell what a named object is for.

    ``tensors`` are builders that this tool does itself, ``data`` plain values, ``code`` classes
    of models whose objects are kept as inert records (and in a TorchScript archive, ``script``,
    those of its own code, ``__torch__``), ``unknown`` everything else, with all dotted names.
    """
    full = f"{module} {name}"
    if full in _TENSORS:
        return "tensors"
    if full in _DATA:
        return "data"
    if full in _ACTIVATIONS or full in MODEL_CLASSES:
        return "code"
    if script and module.partition(".")[0] == "__torch__":
        parts = (*module.split("."), name)
        if all(_IDENTIFIER.match(part) for part in parts):
            return "code"
    return "unknown"
