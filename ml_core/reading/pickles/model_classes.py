"""Classes whose objects whole pickled models are made of; none is ever imported or called here.

Listed one by one, by the module that defines them: torch.nn's modules, and the towers, layers and
configurations of CLIP models in open_clip, timm and transformers. A unit test compares the list
with the packages that are installed.
"""

from __future__ import annotations

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
