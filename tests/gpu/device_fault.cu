// A library to preload (LD_PRELOAD) into a server: once the file that
// CHELA_DEVICE_FAULT_FILE names is there, it runs a kernel with an illegal
// address on the device whose number the file holds. From then on every call
// for that device fails in this process, as when a real fault has happened.
#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

namespace {

__global__ void WriteNowhere(int* address) { *address = 1; }

void WaitAndFail(const char* path) {
  int device = 0;
  while (!(std::ifstream(path) >> device)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  cudaSetDevice(device);
  WriteNowhere<<<1, 1>>>(nullptr);
  std::fprintf(stderr, "device_fault: device %d: %s\n", device,
               cudaGetErrorName(cudaDeviceSynchronize()));
}

__attribute__((constructor)) void Start() {
  const char* path = std::getenv("CHELA_DEVICE_FAULT_FILE");
  if (path != nullptr) std::thread(WaitAndFail, path).detach();
}

}  // namespace
