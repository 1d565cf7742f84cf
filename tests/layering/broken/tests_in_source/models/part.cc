#include "tests/support/part.h"
