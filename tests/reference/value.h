#ifndef CHELA_TESTS_REFERENCE_VALUE_H_
#define CHELA_TESTS_REFERENCE_VALUE_H_

namespace chela::reference {

// A float64 result and the summed magnitude of its terms, from which a test
// derives how much rounding a float32 result may show. For sums of products;
// real.h is for what goes on through other functions.
struct Value {
  double value = 0;
  double magnitude = 0;
};

}  // namespace chela::reference

#endif  // CHELA_TESTS_REFERENCE_VALUE_H_
