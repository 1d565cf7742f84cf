#ifndef CHELA_TESTS_KERNELS_MODULES_FAKE_MODULES_H_
#define CHELA_TESTS_KERNELS_MODULES_FAKE_MODULES_H_

// The values of FAKE_MODULE, each a module of its own: macros, since they
// choose what is compiled.
#define FAKE_GOOD 1          // returns a backend that names itself
#define FAKE_WRONG_ABI 2     // was built for another ABI
#define FAKE_UNAVAILABLE 3   // the machine lacks the device
#define FAKE_NO_SYMBOL 4     // a library, but no module
#define FAKE_NO_FACTORY 5    // has no factory
#define FAKE_NULL_MODULE 6   // shows nothing
#define FAKE_NULL_BACKEND 7  // OK, but without a backend
#define FAKE_UNRESOLVED 8    // needs a symbol that nobody has

#endif  // CHELA_TESTS_KERNELS_MODULES_FAKE_MODULES_H_
