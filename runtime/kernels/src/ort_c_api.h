// The part of ONNX Runtime's C interface that the operators of this folder and the runner for devices
// (runtime/devices/native) use.
//
// ONNX Runtime hands a library of operators one table of function pointers (OrtApi). The table only
// grows at its end: an entry keeps its place in every later release, so a place and a type are all
// that is needed to call it, and no header of the runtime is needed to build. Version 17 of the table
// (onnxruntime 1.17) is the first with KernelContext_ParallelFor, the last entry that is needed.
//
// One entry is younger, and is called only where the runtime's own version says that it is there.
//
// Every function that can fail returns a status, null for success, which its receiver releases.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct OrtStatus;
struct OrtValue;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtTensorTypeAndShapeInfo;
struct OrtEnv;
struct OrtMemoryInfo;
struct OrtRunOptions;
struct OrtSession;

// The table, read by place; see `entry` below.
struct OrtApi {
  void* entries[1];
};

struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

enum OrtErrorCode : int { ORT_FAIL = 1, ORT_INVALID_ARGUMENT = 2 };

enum ONNXTensorElementDataType : int {
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED = 0,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 = 2,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32 = 6,
};

enum OrtCustomOpInputOutputCharacteristic : int {
  INPUT_OUTPUT_REQUIRED = 0,
  INPUT_OUTPUT_OPTIONAL = 1,
};

enum OrtMemType : int { OrtMemTypeDefault = 0 };

enum OrtAllocatorType : int { OrtDeviceAllocator = 0 };

enum OrtLoggingLevel : int { ORT_LOGGING_LEVEL_FATAL = 4 };

// An operator as the runtime sees it, in the layout of version 17. The entries without a V2 of the
// same name came first and are not called when `version` is 16 or more.
struct OrtCustomOp {
  uint32_t version;
  void* (*CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
  const char* (*GetName)(const OrtCustomOp*);
  const char* (*GetExecutionProviderType)(const OrtCustomOp*);
  ONNXTensorElementDataType (*GetInputType)(const OrtCustomOp*, size_t);
  size_t (*GetInputTypeCount)(const OrtCustomOp*);
  ONNXTensorElementDataType (*GetOutputType)(const OrtCustomOp*, size_t);
  size_t (*GetOutputTypeCount)(const OrtCustomOp*);
  void (*KernelCompute)(void*, OrtKernelContext*);
  void (*KernelDestroy)(void*);
  OrtCustomOpInputOutputCharacteristic (*GetInputCharacteristic)(const OrtCustomOp*, size_t);
  OrtCustomOpInputOutputCharacteristic (*GetOutputCharacteristic)(const OrtCustomOp*, size_t);
  OrtMemType (*GetInputMemoryType)(const OrtCustomOp*, size_t);
  int (*GetVariadicInputMinArity)(const OrtCustomOp*);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void** kernel);
  OrtStatus* (*KernelComputeV2)(void* kernel, OrtKernelContext*);
  OrtStatus* (*InferOutputShapeFn)(const OrtCustomOp*, void* context);
  int (*GetStartVersion)(const OrtCustomOp*);
  int (*GetEndVersion)(const OrtCustomOp*);
};

}  // extern "C"

namespace edgepack::ort {

constexpr uint32_t kVersion = 17;
constexpr int kVersionOfReferences = 24;

// A function of the table: its place, and its type.
template <size_t kPlace, typename Result, typename... Arguments>
struct Entry {
  static Result call(const OrtApi* api, Arguments... arguments) {
    using Function = Result (*)(Arguments...);
    return reinterpret_cast<Function>(api->entries[kPlace])(arguments...);
  }
};

using CreateStatus = Entry<0, OrtStatus*, OrtErrorCode, const char*>;
using GetErrorMessage = Entry<2, const char*, const OrtStatus*>;
using CreateEnv = Entry<3, OrtStatus*, OrtLoggingLevel, const char*, OrtEnv**>;
using CreateSession =
    Entry<7, OrtStatus*, const OrtEnv*, const char*, const OrtSessionOptions*, OrtSession**>;
using Run = Entry<9, OrtStatus*, OrtSession*, const OrtRunOptions*, const char* const*,
                  const OrtValue* const*, size_t, const char* const*, size_t, OrtValue**>;
using CreateSessionOptions = Entry<10, OrtStatus*, OrtSessionOptions**>;
using SetSessionLogSeverityLevel = Entry<22, OrtStatus*, OrtSessionOptions*, int>;
using SetIntraOpNumThreads = Entry<24, OrtStatus*, OrtSessionOptions*, int>;
using SetInterOpNumThreads = Entry<25, OrtStatus*, OrtSessionOptions*, int>;
using CreateCustomOpDomain = Entry<26, OrtStatus*, const char*, OrtCustomOpDomain**>;
using CustomOpDomainAdd = Entry<27, OrtStatus*, OrtCustomOpDomain*, const OrtCustomOp*>;
using AddCustomOpDomain = Entry<28, OrtStatus*, OrtSessionOptions*, OrtCustomOpDomain*>;
using RegisterCustomOpsLibrary = Entry<29, OrtStatus*, OrtSessionOptions*, const char*, void**>;
using CreateTensorWithDataAsOrtValue =
    Entry<49, OrtStatus*, const OrtMemoryInfo*, void*, size_t, const int64_t*, size_t,
          ONNXTensorElementDataType, OrtValue**>;
using GetTensorMutableData = Entry<51, OrtStatus*, OrtValue*, void**>;
using GetTensorElementType =
    Entry<60, OrtStatus*, const OrtTensorTypeAndShapeInfo*, ONNXTensorElementDataType*>;
using GetDimensionsCount = Entry<61, OrtStatus*, const OrtTensorTypeAndShapeInfo*, size_t*>;
using GetDimensions = Entry<62, OrtStatus*, const OrtTensorTypeAndShapeInfo*, int64_t*, size_t>;
using GetTensorTypeAndShape = Entry<65, OrtStatus*, const OrtValue*, OrtTensorTypeAndShapeInfo**>;
using CreateCpuMemoryInfo = Entry<69, OrtStatus*, OrtAllocatorType, OrtMemType, OrtMemoryInfo**>;
using KernelInfoGetAttributeInt64 = Entry<86, OrtStatus*, const OrtKernelInfo*, const char*, int64_t*>;
using KernelContextGetInput = Entry<90, OrtStatus*, const OrtKernelContext*, size_t, const OrtValue**>;
using KernelContextGetOutput =
    Entry<91, OrtStatus*, OrtKernelContext*, size_t, const int64_t*, size_t, OrtValue**>;
using ReleaseEnv = Entry<92, void, OrtEnv*>;
using ReleaseStatus = Entry<93, void, OrtStatus*>;
using ReleaseMemoryInfo = Entry<94, void, OrtMemoryInfo*>;
using ReleaseSession = Entry<95, void, OrtSession*>;
using ReleaseValue = Entry<96, void, OrtValue*>;
using ReleaseTensorTypeAndShapeInfo = Entry<99, void, OrtTensorTypeAndShapeInfo*>;
using ReleaseSessionOptions = Entry<100, void, OrtSessionOptions*>;
using ReleaseCustomOpDomain = Entry<101, void, OrtCustomOpDomain*>;
using AddSessionConfigEntry = Entry<130, OrtStatus*, OrtSessionOptions*, const char*, const char*>;
using KernelInfoGetAttributeArrayInt64 =
    Entry<163, OrtStatus*, const OrtKernelInfo*, const char*, int64_t*, size_t*>;
using KernelInfoGetInputCount = Entry<230, OrtStatus*, const OrtKernelInfo*, size_t*>;
using KernelInfoGetNodeName = Entry<244, OrtStatus*, const OrtKernelInfo*, char*, size_t*>;
using KernelInfoGetConstantInputTensor =
    Entry<249, OrtStatus*, const OrtKernelInfo*, size_t, int*, const OrtValue**>;
using KernelContextParallelFor =
    Entry<274, OrtStatus*, const OrtKernelContext*, void (*)(void*, size_t), size_t, size_t, void*>;

// Of version 24: type and dimensions without an object to allocate and release.
using GetTensorElementTypeAndShapeDataReference =
    Entry<414, OrtStatus*, const OrtValue*, ONNXTensorElementDataType*, const int64_t**, size_t*>;

}  // namespace edgepack::ort
