@echo off
rem make demo / make test for Windows, with the words of the Makefile: make demo VIDEO=film.mp4
setlocal
set PY=python
where py >nul 2>nul && set PY=py -3
%PY% "%~dp0scripts\bootstrap.py" %*
