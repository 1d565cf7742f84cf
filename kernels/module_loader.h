#ifndef CHELA_KERNELS_MODULE_LOADER_H_
#define CHELA_KERNELS_MODULE_LOADER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend_module.h"

namespace chela {

// Where modules are looked for, in order: `module_dir`, or if that is empty
// the executable's folder and ../lib beside it.
std::vector<std::string> ModuleFolders(const std::string& module_dir);

// Opens the first `file` there is in `folders` and leaves it open for good. The
// result has the ABI of this program and a factory.
//
// NOT_FOUND if no folder has the file, UNAVAILABLE if it cannot be opened (a
// library that it needs is missing, for one), FAILED_PRECONDITION if it is no
// backend module or one of another ABI.
//
// Threads: any.
absl::StatusOr<const BackendModule*> LoadBackendModule(
    const std::vector<std::string>& folders, const std::string& file);

}  // namespace chela

#endif  // CHELA_KERNELS_MODULE_LOADER_H_
