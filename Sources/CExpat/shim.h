// expat: S3's XML answers.
#pragma once
#include <expat.h>
