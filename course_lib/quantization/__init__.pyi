from .int8 import fake_quantize as fake_quantize
from .int8 import quantize as quantize
from .int8 import quantized_bytes as quantized_bytes
from .onnx_export import Exported as Exported
from .onnx_export import OnnxClassifier as OnnxClassifier
from .onnx_export import export_onnx as export_onnx
from .onnx_export import save_onnx_folder as save_onnx_folder
from .run_onnx import load as load
