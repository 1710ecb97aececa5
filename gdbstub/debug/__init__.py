"""Debug core: a Target over any Machine. It resumes, classifies stops and sets breakpoints."""
