// The engine's contract in C++, without this project: raw frames and one still mask in, filled
// frames out. ONNXRUNTIME is an unpacked release of onnxruntime for C++.
//
//   g++ -std=c++17 -O2 onnx_client.cpp -IONNXRUNTIME/include -LONNXRUNTIME/lib -lonnxruntime
//     -Wl,-rpath,ONNXRUNTIME/lib -o onnx_client
//   ffmpeg -i film.mp4 -vf scale=640:360 -f rawvideo -pix_fmt rgb24 film.rgb
//   ffmpeg -i mask.png -vf scale=640:360:flags=neighbor -f rawvideo -pix_fmt gray mask.gray
//   ./onnx_client memory_dstt_v1_360x640_fp32.onnx film.rgb mask.gray out.rgb
//   ffmpeg -f rawvideo -pix_fmt rgb24 -s 640x360 -r 24 -i out.rgb out.mp4
//
// film.rgb and out.rgb may also be /dev/stdin and /dev/stdout, between two of ffmpeg.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <vector>

using Failure = std::runtime_error;

char* bytes(std::vector<uint8_t>& values) { return reinterpret_cast<char*>(values.data()); }

int main(int argc, char** argv) try {
  if (argc != 5) throw Failure("usage: onnx_client ENGINE FILM.rgb MASK.gray OUT.rgb");
  Ort::Env env;
  Ort::SessionOptions options;
  // 1.20 to 1.24 join a Pad to the AveragePool after it and compute something else then
  options.AddConfigEntry("optimization.disable_specified_optimizers", "Pad_Fusion");
  Ort::Session session(env, std::filesystem::path(argv[1]).c_str(), options);
  const auto shape_of = [&session](size_t input) {
    return session.GetInputTypeInfo(input).GetTensorTypeAndShapeInfo().GetShape();
  };
  const auto frame_shape = shape_of(0), memory_shape = shape_of(1);  // (1, 3, height, width), ...
  if (frame_shape[2] < 0) throw Failure("the engine is for any size: export it without --dynamic");
  const size_t area = frame_shape[2] * frame_shape[3];

  std::ifstream film(argv[2], std::ios::binary), mask_file(argv[3], std::ios::binary);
  std::ofstream out(argv[4], std::ios::binary);
  std::vector<uint8_t> mask(area), rgb(3 * area);  // rgb: pixel by pixel
  std::vector<float> masked_frames(3 * area);      // plane by plane
  if (!mask_file.read(bytes(mask), area) || mask_file.get() != EOF)
    throw Failure("the mask is not of the engine's size");

  const auto cpu = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  Ort::AllocatorWithDefaultOptions allocator;
  // all zero: the start of a stream; again at a cut
  auto memory = Ort::Value::CreateTensor<float>(allocator, memory_shape.data(), memory_shape.size());
  const size_t length = memory.GetTensorTypeAndShapeInfo().GetElementCount();
  std::fill_n(memory.GetTensorMutableData<float>(), length, 0.0f);
  const char* input_names[] = {"masked_frames", "memory"};
  const char* output_names[] = {"output", "new_memory"};

  while (film.read(bytes(rgb), rgb.size())) {
    for (size_t i = 0; i < area; ++i)
      for (size_t c = 0; c < 3; ++c)  // no 8-bit value becomes 0, so 0 is free to mean "missing"
        masked_frames[c * area + i] = mask[i] > 127 ? 0.0f : rgb[3 * i + c] / 127.5f - 1.0f;
    auto frame = Ort::Value::CreateTensor<float>(cpu, masked_frames.data(), masked_frames.size(),
                                                 frame_shape.data(), frame_shape.size());
    const Ort::Value inputs[] = {std::move(frame), std::move(memory)};
    auto outputs = session.Run(Ort::RunOptions{}, input_names, inputs, 2, output_names, 2);
    memory = std::move(outputs[1]);  // of this frame, for the next
    const float* output = outputs[0].GetTensorData<float>();
    for (size_t i = 0; i < area; ++i)
      for (size_t c = 0; c < 3 && mask[i] > 127; ++c) {  // the rest stays the film's own
        const float value = std::nearbyint((output[c * area + i] + 1.0f) * 127.5f);
        rgb[3 * i + c] = static_cast<uint8_t>(std::clamp(value, 0.0f, 255.0f));
      }
    out.write(bytes(rgb), rgb.size());
  }
  if (film.gcount() != 0) throw Failure("the film ends inside a frame: is it of the engine's size?");
  if (!out.flush()) throw Failure("the frames can't be written");
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
